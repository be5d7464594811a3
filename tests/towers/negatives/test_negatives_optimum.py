"""Where a softmax has its optimum when the columns carry a sampler's log q: by enumeration of all draws.

Population of ``test_in_batch_optimum``: three equally frequent readers and six articles, all live. Columns of
a row are its positive and the negatives; only how often each article is among these matters.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.towers.negatives import Hard, Mixed, NegativeContext, NegativeSampler, Popularity, Uniform
from helpers.towers import Draws, P, Q, multinomial, together

UNIFORM = torch.full_like(Q, 1 / 6)


def optimum(p: Tensor, draws: Draws, log_q: Tensor) -> Tensor:
    """Scores (6,) that minimise the expected loss of a reader who clicks by ``p``, by Newton's method."""
    counts, chance = draws
    columns = counts[:, None, :] + torch.eye(len(p), dtype=torch.float64)  # (n, 6 own, 6)

    def loss(scores: Tensor) -> Tensor:
        logits = scores - log_q
        rows = torch.logsumexp(logits + columns.log(), dim=2) - logits
        return (chance[:, None] * p * rows).sum() + scores.sum() ** 2  # adding a constant changes no row

    scores = torch.log(p) - torch.log(p).mean()
    for _ in range(30):
        gradient = torch.func.grad(loss)(scores)
        step = torch.linalg.solve(torch.func.hessian(loss)(scores), gradient)
        scores = scores - step / max(1.0, float(step.abs().max()))
        if float(step.abs().max()) < 1e-12:
            break
    assert float(torch.func.grad(loss)(scores).abs().max()) < 1e-10
    return scores


def error(p: Tensor, draws: Draws, log_q: Tensor) -> float:
    """Largest centred error of the optimum against log p."""
    off = optimum(p, draws, log_q) - p.log()
    return float((off - off.mean()).abs().max())


def claimed_log_q(sampler: NegativeSampler, batch_size: int, shortlist: tuple[int, ...] = ()) -> Tensor:
    """Log q of the six articles as the shipped sampler gives it, read off rows whose positives they are."""
    rows = np.arange(batch_size) % 6
    log_q = np.full(6, np.nan)
    for first in range(6):  # small batches do not hold all six
        positives = (rows + first) % 6
        context = NegativeContext(
            positive_ids=positives,
            positive_log_q=Q.log().numpy()[positives],
            live_ids=np.arange(6),
            live_share=Q.numpy(),
            shortlist_ids=np.tile(np.array(shortlist, dtype=np.int64), (batch_size, 1)),
        )
        log_q[positives] = sampler.draw(context, np.random.default_rng(0)).log_q_positive
    return torch.from_numpy(log_q)


@pytest.mark.parametrize(("rows", "uniform", "residue"), [(2, 1, 0.027), (3, 2, 0.017), (5, 4, 0.0098)])
def test_mixed_negatives_have_the_residues_of_fixed_counts(rows: int, uniform: int, residue: float) -> None:
    draws = together(multinomial(rows - 1, Q), multinomial(uniform, UNIFORM))
    log_q = claimed_log_q(Mixed(count=uniform), rows)
    assert max(error(p, draws, log_q) for p in P) == pytest.approx(residue, rel=0.03)


def test_mixed_negatives_drawn_from_the_mixture_are_exact_and_the_batch_share_alone_is_not() -> None:
    log_q = claimed_log_q(Mixed(count=1), 2)
    assert max(error(p, multinomial(2, log_q.exp() / 2), log_q) for p in P) < 1e-7
    fixed = together(multinomial(1, Q), multinomial(1, UNIFORM))
    assert max(error(p, fixed, Q.log()) for p in P) == pytest.approx(0.55, abs=0.005)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_popularity_negatives_with_log_q_have_optimum_log_p(alpha: float, count: int) -> None:
    sampler = Popularity(count=count, alpha=alpha)
    draws = multinomial(count, Q**alpha / (Q**alpha).sum())
    assert max(error(p, draws, claimed_log_q(sampler, 6)) for p in P) < 1e-7
    if alpha:  # uncorrected, the power of the popularity is in the score
        off = optimum(P[1], draws, torch.zeros(6)) - P[1].log() + alpha * Q.log()
        assert float((off - off.mean()).abs().max()) < 1e-7
        wrong = claimed_log_q(Popularity(count=count, alpha=alpha / 2), 6)
        assert error(P[1], draws, wrong) > 0.1


def test_uniform_negatives_are_exact_with_hits_kept() -> None:
    log_q = claimed_log_q(Uniform(count=2), 6)
    assert max(error(p, multinomial(2, UNIFORM), log_q) for p in P) < 1e-7


def test_hard_negatives_have_optimum_log_p_as_nearly_as_mixed_ones() -> None:
    shortlist = (0, 2, 3)
    member = torch.tensor([1, 0, 1, 1, 0, 0]).double() / 3
    errors = []
    for hard, uniform in ((2, 1), (3, 2), (5, 4)):
        draws = together(multinomial(hard, member), multinomial(uniform, UNIFORM))
        log_q = claimed_log_q(Hard(count=hard, uniform_count=uniform), 6, shortlist)
        errors.append(max(error(p, draws, log_q) for p in P))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01
    assert error(P[0], draws, torch.zeros(6)) > 0.5  # as if they were uniform
    mixture = log_q.exp() / log_q.exp().sum()
    assert max(error(p, multinomial(4, mixture), log_q) for p in P) < 1e-7
