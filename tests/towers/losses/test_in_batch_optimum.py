"""Where the in-batch softmax has its optimum, by enumeration of all batches of a small population.

Three equally frequent readers and six articles. A batch is B independent draws (reader, article ~ p_reader).
The expected loss is a sum over the multisets of articles in a batch; of its rows only the reader is then left
to average. The optimum is found with a plain vectorised form of the loss, which is convex in the score table;
that it is the optimum of the *shipped* function is shown by the shipped function's exact gradient there, and
by one Newton step, which must not move it. (Calling the shipped function for all batches takes a second at B
= 8.)
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from feedgym.towers.losses import in_batch_softmax_loss
from helpers.towers import ARTICLES, READERS, P, Q


def multisets(size: int, chances: Tensor = Q) -> tuple[Tensor, Tensor]:
    """All multisets of ``size`` draws: sorted article ids (M, size), and their probabilities (M,)."""
    ids = torch.tensor(list(itertools.combinations_with_replacement(range(ARTICLES), size)))
    counts = torch.nn.functional.one_hot(ids, ARTICLES).sum(dim=1)
    ways = math.lgamma(size + 1) - torch.lgamma(counts.double() + 1).sum(dim=1)
    return ids, torch.exp(ways + (counts * chances.log()).sum(dim=1))


def plain_loss(kind: str, batch_size: int, temperature: float = 1.0) -> Callable[[Tensor], Tensor]:
    """Expected loss of a row as a function of the score table (3, 6), without the shipped function."""
    ids, chance = multisets(batch_size - 1)
    others = torch.nn.functional.one_hot(ids, ARTICLES).sum(dim=1).double()  # (M, 6)
    own = torch.eye(ARTICLES, dtype=torch.float64)
    not_own = 1 - own
    if kind == "none":
        positive, column = torch.ones_like(Q), others[:, None, :].expand(-1, ARTICLES, -1)
    elif kind == "nce":
        positive, column = 1 / Q, (others / Q)[:, None, :].expand(-1, ARTICLES, -1)
    elif kind == "full":
        positive, column = torch.ones_like(Q), (others / ((batch_size - 1) * Q))[:, None, :] * not_own
    else:  # "masked": hits masked although the positive is corrected
        positive, column = 1 / Q, (others / Q)[:, None, :] * not_own
    weights = column + own * positive  # (M, 6 own, 6 columns): what multiplies exp(s)

    def loss(table: Tensor) -> Tensor:
        scores = table / temperature
        top = scores.max(dim=1, keepdim=True).values
        sums = torch.einsum("mij,uj->mui", weights, torch.exp(scores - top))
        rows = sums.log() + top - scores - positive.log()  # (M, 3, 6)
        return (chance[:, None, None] * P * rows).sum() / READERS

    return loss


def shipped_loss(
    kind: str, batch_size: int, temperature: float = 1.0, log_q: Tensor | None = None
) -> Callable[[Tensor], Tensor]:
    """The same expectation, from ``in_batch_softmax_loss`` called on every multiset of articles."""
    log_q = Q.log() if log_q is None else log_q
    reader_of = P / P.sum(dim=0)  # chance of the reader given the article, for equally frequent readers
    one_hot = torch.eye(ARTICLES, dtype=torch.float64)

    def loss(table: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for ids, chance in zip(*multisets(batch_size), strict=True):
            if kind == "full" and len(ids.unique()) == 1:
                continue  # no row has a negative
            for reader in range(READERS):
                total = total + chance * in_batch_softmax_loss(
                    table[reader].expand(batch_size, -1),
                    one_hot[ids],
                    ids,
                    log_q[ids],
                    correction=kind,  # type: ignore[arg-type]
                    temperature=temperature,
                    weight=reader_of[reader, ids],
                    normalise="count",
                )
        return total

    return loss


def minimise(loss: Callable[[Tensor], Tensor], table: Tensor) -> Tensor:
    """Damped Newton; the loss is convex, and flat only along a constant per reader."""
    for _ in range(60):
        step = newton_step(loss, loss, table)
        size = 1.0
        while loss(table + size * step) > loss(table) + 1e-15 and size > 1e-6:
            size /= 2
        table = table + size * step
        if step.abs().max() < 1e-11:
            break
    return table


def newton_step(slope_of: Callable[[Tensor], Tensor], curve_of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    (slope,) = torch.autograd.grad(slope_of(at), at)
    curve = torch.autograd.functional.hessian(curve_of, at).reshape(at.numel(), at.numel())
    return -(torch.linalg.pinv(curve, rtol=1e-10, hermitian=True) @ slope.flatten()).reshape(at.shape)


def centred(table: Tensor) -> Tensor:
    return table - table.mean(dim=1, keepdim=True)


def error(table: Tensor, truth: Tensor) -> float:
    return (centred(table) - centred(truth)).abs().max().item()


@pytest.mark.parametrize("batch_size", [2, 4, 8])
@pytest.mark.parametrize(("kind", "truth"), [("nce", P.log()), ("none", (P / Q).log())])
def test_optimum_is_exact_at_every_batch_size(kind: str, truth: Any, batch_size: int) -> None:
    # The shipped gradient vanishes there: a Newton step from the truth stays at it.
    step = newton_step(shipped_loss(kind, batch_size), plain_loss(kind, batch_size), truth)
    assert centred(step).abs().max() < 1e-5
    # The check can fail: from elsewhere, the same step moves by about as much as is wrong.
    if batch_size == 2:
        astray = truth + 0.1 * torch.eye(READERS, ARTICLES)
        step = newton_step(shipped_loss(kind, batch_size), plain_loss(kind, batch_size), astray)
        assert error(astray + step, truth) < 0.03 < centred(step).abs().max()


@pytest.mark.parametrize(("batch_size", "miss"), [(2, 1.41), (4, 0.42), (8, 0.15)])
def test_full_is_off_at_small_batches_by_the_known_amount(batch_size: int, miss: float) -> None:
    optimum = minimise(plain_loss("full", batch_size), P.log())
    assert error(optimum, P.log()) == pytest.approx(miss, abs=0.006)
    step = newton_step(shipped_loss("full", batch_size), plain_loss("full", batch_size), optimum)
    assert centred(step).abs().max() < 1e-5


@pytest.mark.parametrize(("batch_size", "miss"), [(4, 0.26), (8, 0.52)])
def test_masking_hits_with_log_q_is_biased(batch_size: int, miss: float) -> None:
    """The control that must fail: were the shipped `nce` to mask, its optimum would be this far off."""
    optimum = minimise(plain_loss("masked", batch_size), P.log())
    assert error(optimum, P.log()) == pytest.approx(miss, abs=0.006)
    step = newton_step(shipped_loss("nce", batch_size), plain_loss("nce", batch_size), optimum)
    assert centred(step).abs().max() > 0.1


def test_log_q_comes_after_the_temperature() -> None:
    temperature = 0.05
    plain = plain_loss("nce", 3, temperature)
    step = newton_step(shipped_loss("nce", 3, temperature), plain, temperature * P.log())
    assert centred(step).abs().max() < 1e-5 * temperature
    # Had it come before, this would be the optimum: little but popularity.
    popularity = temperature * P.log() + (1 - temperature) * Q.log()
    step = newton_step(shipped_loss("nce", 3, temperature), plain, popularity)
    assert centred(step).abs().max() > 0.1 * temperature


def test_an_error_in_log_q_goes_into_the_score() -> None:
    slip = torch.tensor([0.3, 0.0, 0.0, -0.2, 0.0, 0.0], dtype=torch.float64)
    step = newton_step(shipped_loss("nce", 3, log_q=Q.log() + slip), plain_loss("nce", 3), P.log() + slip)
    assert centred(step).abs().max() < 1e-5


def mixed_loss(in_batch: int, uniform: int, log_count: Tensor) -> Callable[[Tensor], Tensor]:
    """Expected mixed-negatives loss: ``in_batch`` other rows, ``uniform`` draws over the six articles."""
    one_hot = torch.eye(ARTICLES, dtype=torch.float64)
    reader_of = P / P.sum(dim=0)
    extras = multisets(uniform, torch.full((ARTICLES,), 1 / ARTICLES, dtype=torch.float64))

    def loss(table: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for ids, chance in zip(*multisets(in_batch + 1), strict=True):
            for extra, extra_chance in zip(*extras, strict=True):
                for reader in range(READERS):
                    row_loss = in_batch_softmax_loss(
                        table[reader].expand(in_batch + 1, -1),
                        one_hot[ids],
                        ids,
                        log_count[ids],
                        weight=reader_of[reader, ids],
                        normalise="count",
                        extra_item=one_hot[extra],
                        extra_ids=extra,
                        extra_log_q=log_count[extra],
                    )
                    total = total + chance * extra_chance * row_loss
        return total

    return loss


def settle(loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The optimum near log p, by Newton steps with the curvature at log p: second derivatives are dear here."""
    table = P.log()
    curve = torch.autograd.functional.hessian(loss, table).reshape(table.numel(), -1)
    inverse = torch.linalg.pinv(curve, rtol=1e-10, hermitian=True)
    for _ in range(30):
        at = table.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss(at), at)
        step = -(inverse @ slope.flatten()).reshape(table.shape)
        table = table + step
        if step.abs().max() < 1e-4:
            return table
    raise AssertionError("no optimum found")


def test_mixed_negatives_with_fixed_counts_leave_the_known_residue() -> None:
    """Two rows and one uniform draw: one in-batch and one uniform negative instead of two draws of the mixture."""
    table = settle(mixed_loss(1, 1, (Q + 1 / ARTICLES).log()))
    assert error(table, P.log()) == pytest.approx(0.0268, abs=0.0005)
    only_batch = settle(mixed_loss(1, 1, Q.log()))
    assert error(only_batch, P.log()) == pytest.approx(0.546, abs=0.005)


def test_mixed_negatives_are_exact_when_each_is_a_draw_of_the_mixture() -> None:
    """One row and m negatives, each drawn from (2 q + uniform) / 3: the optimum is log p."""
    mixture = (2 * Q + 1 / ARTICLES) / 3
    log_count = (2 * mixture).log()
    one_hot = torch.eye(ARTICLES, dtype=torch.float64)

    def loss(table: Tensor, log_count: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for extra, chance in zip(*multisets(2, mixture), strict=True):
            for reader, article in itertools.product(range(READERS), range(ARTICLES)):
                own = torch.tensor([article])
                row_loss = in_batch_softmax_loss(
                    table[reader : reader + 1],
                    one_hot[own],
                    own,
                    log_count[own],
                    extra_item=one_hot[extra],
                    extra_ids=extra,
                    extra_log_q=log_count[extra],
                )
                total = total + chance * P[reader, article] / READERS * row_loss
        return total

    curve = plain_loss("nce", 3)
    step = newton_step(lambda table: loss(table, log_count), curve, P.log())
    assert centred(step).abs().max() < 1e-6
    step = newton_step(lambda table: loss(table, Q.log()), curve, P.log())
    assert centred(step).abs().max() > 0.1
