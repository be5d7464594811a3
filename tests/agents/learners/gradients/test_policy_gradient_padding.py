"""What of a slate contributes to its gradient: padding nothing, whatever the log holds there."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.agents.learners.gradients.candidates import Candidates, LearnedPolicy
from feedgym.agents.learners.gradients.policy_gradient import Logged, log_slot_marginal
from feedgym.agents.slate_policy.importance import importance_weight
from feedgym.env.arrays import Doubles
from helpers.gradients import all_in_head, identity, logged_of, policy_gradient

ESTIMATORS: tuple[str, ...] = ("inclusion", "marginal", "chen", "none", "prefix", "joint")
N, K, EPSILON = 8, 3, 0.1
LOGGER, TARGET = np.random.default_rng(0).normal(size=(2, N))
SLATES = np.array([[3, 0, 6], [1, 4, 2], [5, 6, 1]])
REWARD = np.array([[0.3, 0.05, 0.5], [0.1, 0.4, 0.2], [0.45, 0.5, 0.1]])


def policy_of(logits: Tensor) -> LearnedPolicy:
    """Of logits (B, 8)."""
    return all_in_head(logits).policy(EPSILON)


def target() -> LearnedPolicy:
    return policy_of(torch.tensor(np.tile(TARGET, (3, 1))))


def logged_slates(column: Tensor | None = None) -> Logged:
    policy = policy_of(torch.tensor(np.tile(LOGGER, (3, 1))))
    column = torch.tensor(SLATES) if column is None else column
    shown = policy.head.gather(1, column.clamp(min=0))
    return logged_of(policy, column, log_slot_marginal(policy, shown, column).exp())


def doubles_at(where: Tensor, values: list[float], elsewhere: float) -> Tensor:
    """``values`` where ``where``, in order, and ``elsewhere`` elsewhere."""
    filled = torch.full(where.shape, elsewhere, dtype=torch.float64)
    filled[where] = torch.tensor(values, dtype=torch.float64)
    return filled


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("filled", [0, 1, 2])
def test_padding_contributes_nothing(estimator: str, filled: int) -> None:
    column = torch.tensor(SLATES)
    column[:, filled:] = -1
    full, logged = logged_slates(), logged_slates(column)
    shown = column >= 0
    outcomes = []
    for other in (0.0, -7.0, torch.nan):
        advantage = torch.where(shown, torch.tensor(REWARD - 0.3), other)
        logits = torch.tensor(np.tile(TARGET, (3, 1)), requires_grad=True)
        policy = policy_of(logits)
        coefficient, log_chance, weight = policy_gradient(estimator, policy, column, logged, advantage, identity)
        for got in (coefficient, log_chance.detach(), torch.from_numpy(weight)):
            assert (got[~shown] == 0).all()
            assert torch.isfinite(got).all()
        (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
        outcomes.append((coefficient.numpy(), weight, gradient.numpy()))
    for again in outcomes[1:]:
        for one, expected in zip(again, outcomes[0], strict=True):
            np.testing.assert_array_equal(one, expected)
    # The rest as in a slate that was filled: each slot by itself, or the shorter slate of joint and prefix.
    logits = torch.tensor(np.tile(TARGET, (3, 1)), requires_grad=True)
    if estimator in ("joint", "prefix"):
        column = torch.tensor(SLATES[:, :filled])
        if not filled:
            np.testing.assert_array_equal(outcomes[0][2], 0.0)
            return
        full = logged_slates(column)
    else:
        column = torch.tensor(SLATES)
    advantage = torch.tensor(REWARD - 0.3)[:, : column.shape[1]]
    coefficient, log_chance, _ = policy_gradient(estimator, policy_of(logits), column, full, advantage, identity)
    np.testing.assert_allclose(outcomes[0][0][:, :filled], coefficient[:, :filled], rtol=1e-12)
    (gradient,) = torch.autograd.grad((coefficient * log_chance)[:, :filled].sum(), logits)
    np.testing.assert_allclose(outcomes[0][2], gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("estimator", ["inclusion", "marginal", "chen", "prefix", "joint"])
def test_padding_is_not_weighed(estimator: str) -> None:
    """Nor does it count in a mean over the batch, such as that of `nis`."""
    column = torch.tensor([[3, 0, 6], [1, -1, -1], [-1, -1, -1]])
    shown = (column >= 0).numpy()
    seen = []

    def nis(pi: Doubles, beta: Doubles, advantage: Doubles) -> Doubles:
        seen.append((pi / beta, advantage))
        return importance_weight(pi, beta, "nis")

    full = logged_slates()
    advantage = torch.where(column >= 0, torch.tensor(REWARD), 1e6)
    _, _, weight = policy_gradient(estimator, target(), column, full, advantage, nis)
    ((ratio, given),) = seen
    assert weight[shown].mean() == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(np.sort(weight[shown]), np.sort(ratio.ravel() / ratio.mean()), rtol=1e-12)
    assert ratio.size == shown.sum()
    assert given.max() < 2


@pytest.mark.parametrize("estimator", ["prefix", "joint"])
def test_padding_above_an_article(estimator: str) -> None:
    """A hole is no article: neither its chance nor that of whatever stands in the head's first column counts."""
    outcomes = []
    for column in (torch.tensor([[-1, 3, -1, 6]]), torch.tensor([[3, 6]])):
        shown = column >= 0
        logits = torch.tensor(TARGET[None], requires_grad=True)
        beta = doubles_at(shown, [0.4, 0.2], 1.0)
        logged = Logged(beta, beta, beta)
        coefficient, log_chance, _ = policy_gradient(
            estimator, policy_of(logits), column, logged, doubles_at(shown, [0.3, -0.7], 99.0), identity
        )
        (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
        outcomes.append((coefficient[shown], log_chance[shown].detach(), gradient))
    for got, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_ratio_to_an_almost_impossible_log_is_a_number() -> None:
    logged = logged_slates()
    logged = replace(logged, first=torch.full_like(logged.first, 1e-300))
    advantage = torch.ones(SLATES.shape, dtype=torch.float64)
    coefficient, _, weight = policy_gradient(
        "chen",
        target(),
        torch.tensor(SLATES),
        logged,
        advantage,
        lambda pi, beta, a: importance_weight(pi, beta, "cap", cap=7.0),
    )
    np.testing.assert_array_equal(weight, 7.0)
    assert torch.isfinite(coefficient).all()


def test_marginal_needs_the_logged_marginals() -> None:
    logged = replace(logged_slates(), slot_marginal=None)
    with pytest.raises(ValueError, match=r"logged\.slot_marginal: got None"):
        policy_gradient("marginal", target(), torch.tensor(SLATES), logged, torch.zeros(3, K), identity)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_visit_that_was_shown_nothing_spoils_no_other(estimator: str) -> None:
    """Its head is empty too."""
    logits = torch.tensor(np.tile(TARGET, (2, 1)), requires_grad=True)
    head = torch.cat([logits[:1, :5], torch.full((1, 5), -torch.inf, dtype=torch.float64)])
    weight = torch.full((2,), 4.0, dtype=torch.float64)
    policy = Candidates(head, logits[:, 5:], weight, torch.tensor([17.0, 12.0]).double()).policy(0.0)
    column = torch.tensor([[3, 0, 4], [-1, -1, -1]])
    beta = doubles_at(column >= 0, [0.4, 0.3, 0.5], 1.0)
    logged = Logged(beta, beta, beta, torch.full((2,), 5.0, dtype=torch.float64), beta)
    coefficient, log_chance, _ = policy_gradient(estimator, policy, column, logged, beta, identity)
    (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
    assert torch.isfinite(gradient).all()
    assert gradient[0].abs().max() > 1e-3
    np.testing.assert_array_equal(gradient[1], 0.0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_visit_to_an_empty_catalogue_spoils_no_other(estimator: str, epsilon: float) -> None:
    gradients = []
    for rows in (1, 2):
        logits = torch.tensor(np.tile(TARGET, (rows, 1)), requires_grad=True)
        head = torch.cat([logits[:1], torch.full((rows - 1, N), -torch.inf, dtype=torch.float64)])
        nothing = torch.zeros(rows, dtype=torch.float64)
        no_tail = torch.full((rows, 2), -torch.inf, dtype=torch.float64)
        num_live = torch.tensor([float(N), 0.0], dtype=torch.float64)[:rows]
        candidates = Candidates(head, no_tail, nothing, num_live)
        column = torch.tensor([[3, 0, 4], [-1, -1, -1]])[:rows]
        beta = doubles_at(column >= 0, [0.4, 0.3, 0.5], 1.0)
        logged = Logged(beta, beta, beta, torch.full((rows,), 5.0, dtype=torch.float64), beta)
        policy = candidates.policy(epsilon)
        coefficient, log_chance, _ = policy_gradient(estimator, policy, column, logged, beta, identity)
        term = (coefficient * log_chance).sum() + candidates.entropy().sum() + candidates.divergence(candidates).sum()
        gradients.append(torch.autograd.grad(term, logits)[0])
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(gradients[1][0], gradients[0][0], rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(gradients[1][1], 0.0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_more_positions_than_articles(estimator: str) -> None:
    """Two live articles on four positions: nobody could stand at the last two."""
    logits = torch.tensor([[0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(1, dtype=torch.float64)
    candidates = Candidates(logits, torch.zeros((1, 0), dtype=torch.float64), nothing, nothing + 2)
    column = torch.tensor([[1, 0, -1, -1]])
    beta = doubles_at(column >= 0, [0.4, 0.5], 1.0)
    logged = Logged(beta, beta, beta, nothing + 5.0, beta)
    policy = candidates.policy(0.1)
    coefficient, log_chance, weight = policy_gradient(estimator, policy, column, logged, beta, identity)
    (gradient,) = torch.autograd.grad((coefficient * log_chance).sum(), logits)
    assert np.isfinite(weight).all()
    assert torch.isfinite(log_chance).all()
    assert torch.isfinite(gradient).all()
