"""The closed form of the default policy gradient equals autograd's."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from feedgym.agents.learners.gradients.fused_inclusion import inclusion_step
from feedgym.agents.learners.gradients.policy_batch import PolicyBatch
from feedgym.agents.learners.gradients.policy_gradient import ESTIMATORS, Logged, Shown, Weigh
from feedgym.agents.slate_policy.importance import importance_weight

B, H, M, K = 12, 30, 9, 4


def case(seed: int, spread: float) -> dict[str, np.ndarray]:
    """Padded heads and tails, a slate with holes, logs of another policy."""
    rng = np.random.default_rng(seed)
    logits = spread * rng.normal(size=(B, H + M))
    each = np.ones((B, H + M))
    each[:, H:] = rng.uniform(2.0, 30.0, (B, 1))
    each[:, 20:H] = rng.random((B, H - 20)) < 0.5
    each[:, H:] *= rng.random((B, M)) < 0.7
    each[0, H:] = 0.0  # the head is everything
    column = np.argsort(rng.random((B, 20)), axis=1)[:, :K]
    column[1, 2:] = -1
    column[2:4] = -1
    each[3] = 0.0  # nothing was live
    return {
        "logits": logits,
        "prior": logits + 0.7 * rng.normal(size=logits.shape),
        "each": each,
        "num_live": np.maximum(each.sum(axis=1), 1.0),
        "column": column,
        "inclusion": np.where(column >= 0, rng.uniform(0.02, 0.9, (B, K)), 1.0),
        "time": rng.uniform(3.0, 40.0, B),
        "advantage": rng.normal(size=(B, K)),
    }


def batch_of(c: dict[str, np.ndarray], weigh: Weigh) -> PolicyBatch:
    inclusion = torch.from_numpy(c["inclusion"])
    logged = Logged(inclusion, first=inclusion, slot_propensity=inclusion, time=torch.from_numpy(c["time"]))
    shown = Shown(torch.from_numpy(c["column"]), logged, torch.from_numpy(c["advantage"]), weigh)
    return PolicyBatch(torch.from_numpy(c["logits"]), c["prior"], c["each"], H, c["num_live"], shown)


def by_autograd(c: dict[str, np.ndarray], epsilon: float, kl: float, weigh: Weigh) -> tuple[np.ndarray, ...]:
    logits = torch.from_numpy(c["logits"]).requires_grad_()
    batch = replace(batch_of(c, weigh), logits=logits)
    mine = batch.candidates
    coefficient, log_chance, weight = ESTIMATORS["inclusion"].terms(mine.policy(epsilon), batch.shown)
    surrogate = (coefficient * log_chance).sum(dim=1)
    divergence = batch.divergence(mine)
    (kl * divergence - surrogate).sum().backward()
    assert logits.grad is not None
    return logits.grad.numpy(), surrogate.detach().numpy(), divergence.detach().numpy(), weight


@pytest.mark.parametrize("method", ["none", "cap", "clip", "nis"])
@pytest.mark.parametrize("spread", [0.5, 4.0, 16.0])
@pytest.mark.parametrize("epsilon", [0.01, 0.3])
def test_equals_autograd(method: str, spread: float, epsilon: float) -> None:
    def weigh(pi: np.ndarray, beta: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return importance_weight(pi, beta, method, cap=3.0, advantage=advantage)

    c = case(3, spread)
    step = inclusion_step(batch_of(c, weigh), epsilon, 0.4)
    gradient, surrogate, divergence, weight = by_autograd(c, epsilon, 0.4, weigh)
    assert np.abs(gradient).max() > 0.03
    np.testing.assert_allclose(step.gradient, gradient, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(step.surrogate, surrogate, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(step.divergence, divergence, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(step.weight, weight, rtol=1e-8)
    assert not step.gradient[c["each"] == 0].any()
    # Shares are of all live articles; a gradient never moves all logits alike.
    np.testing.assert_allclose(step.shares.sum(axis=1), np.where(np.arange(B) == 3, 0.0, 1.0), rtol=1e-12)
    np.testing.assert_allclose(step.gradient.sum(axis=1), 0.0, atol=1e-9)
