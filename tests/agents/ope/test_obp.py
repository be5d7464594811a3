"""Our estimators against Open Bandit Pipeline's, to 1e-9: its formulas said again, and the package itself where it is.

Saito, Aihara, Matsutani & Narita, NeurIPS Datasets and Benchmarks 2021; ``obp`` 0.4.1, flat rows as its feedback has
them. Its slate estimators normalise nothing: SN-RIPS and SN-IIPS divide each position by its own mean weight
(docs/mathematics.md 5.2).
"""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import ope
from feedgym.env.arrays import Doubles

N, K, A = 400, 3, 5


@pytest.fixture(scope="module")
def one() -> dict[str, Any]:
    """Rounds of one action: rewards, logged chances, the target's distribution (N, A, 1), a model of rewards."""
    rng = np.random.default_rng(0)
    return {
        "reward": rng.random(N),
        "action": rng.integers(0, A, N),
        "pscore": rng.uniform(0.05, 1.0, N),
        "action_dist": rng.dirichlet(np.ones(A), N)[:, :, None],
        "model": rng.random((N, A, 1)),
    }


@pytest.fixture(scope="module")
def slates() -> dict[str, Doubles]:
    """Slates with chances of slots and of positions under both policies, (N, K) each; the target's may be 0."""
    rng = np.random.default_rng(1)
    target = rng.uniform(0.0, 1.0, (2, N, K)) * (rng.random((2, N, K)) < 0.9)
    logged = rng.uniform(0.1, 1.0, (2, N, K))
    return {
        "slot": logged[0],
        "slot_pi": target[0],
        "position": logged[1],
        "position_pi": target[1],
        "r": rng.random((N, K)),
    }


TAU, LAM = 1.5, 3.0


def ours_one(d: dict[str, Any]) -> dict[str, float]:
    rows = np.arange(N)
    w = d["action_dist"][rows, d["action"], 0] / d["pscore"]
    q, q_pi = d["model"][rows, d["action"], 0], (d["action_dist"] * d["model"])[:, :, 0].sum(axis=1)
    found = {
        "ipw": ope.ips(w, d["reward"]),
        "snipw": ope.snips(w, d["reward"]),
        "dm": ope.dm(q_pi),
        "dr": ope.dr(w, d["reward"], q, q_pi),
        "sndr": ope.sndr(w, d["reward"], q, q_pi),
        "switch-dr": ope.switch_dr(w, d["reward"], q, q_pi, TAU),
        "dr-os": ope.dros(w, d["reward"], q, q_pi, LAM),
    }
    return {name: estimate.value for name, estimate in found.items()}


def ours_slates(d: dict[str, Doubles]) -> dict[str, float]:
    rho, ratio, r = d["slot_pi"] / d["slot"], d["position_pi"] / d["position"], d["r"]
    found = {
        "sips": ope.sips(rho, r),
        "snsips": ope.snsips(rho, r),
        "rips": ope.rips(rho, r),
        "snrips": ope.snrips(rho, r),
        "iips": ope.iips(ratio, r),
        "sniips": ope.sniips(ratio, r),
    }
    return {name: estimate.value for name, estimate in found.items()}


def test_rounds_of_one_action_said_again(one: dict[str, Any]) -> None:
    """Round by round, as its ``_estimate_round_rewards`` has them."""
    rewards: dict[str, list[float]] = {name: [] for name in ours_one(one)}
    weights = [one["action_dist"][i, one["action"][i], 0] / one["pscore"][i] for i in range(N)]
    mean = sum(weights) / N
    for i, w in enumerate(weights):
        r, q = one["reward"][i], one["model"][i, one["action"][i], 0]
        base = sum(one["action_dist"][i, a, 0] * one["model"][i, a, 0] for a in range(A))
        rewards["ipw"].append(w * r)
        rewards["snipw"].append(w * r / mean)
        rewards["dm"].append(base)
        rewards["dr"].append(base + w * (r - q))
        rewards["sndr"].append(base + w * (r - q) / mean)
        rewards["switch-dr"].append(base + (w * (r - q) if w <= TAU else 0.0))
        rewards["dr-os"].append(base + LAM * w / (w * w + LAM) * (r - q))
    for name, value in ours_one(one).items():
        assert value == pytest.approx(sum(rewards[name]) / N, rel=1e-9), name


def test_slates_said_again(slates: dict[str, Doubles]) -> None:
    """Row by row: chances of the slate, of this position and those above, of the item at its position."""
    total = dict.fromkeys(ours_slates(slates), 0.0)
    weight: dict[str, Doubles] = {name: np.zeros((N, K)) for name in ("sips", "rips", "iips")}
    for i in range(N):
        joint, joint_pi = np.prod(slates["slot"][i]), np.prod(slates["slot_pi"][i])
        above = above_pi = 1.0
        for k in range(K):
            above, above_pi = above * slates["slot"][i, k], above_pi * slates["slot_pi"][i, k]
            weight["sips"][i, k] = joint_pi / joint
            weight["rips"][i, k] = above_pi / above
            weight["iips"][i, k] = slates["position_pi"][i, k] / slates["position"][i, k]
            for name, w in weight.items():
                total[name] += w[i, k] * slates["r"][i, k] / N
    for name, w in weight.items():
        for k in range(K):
            total[f"sn{name}"] += (w[:, k] * slates["r"][:, k]).sum() / w[:, k].sum()
    for name, value in ours_slates(slates).items():
        assert value == pytest.approx(total[name], rel=1e-9), name


def test_the_package_itself_on_rounds_of_one_action(one: dict[str, Any]) -> None:
    theirs = pytest.importorskip("obp.ope", reason="obp is no dependency: pip install obp==0.4.1")
    feedback = {
        "n_rounds": N,
        "n_actions": A,
        "context": np.zeros((N, 1)),
        "position": np.zeros(N, dtype=int),
        **{name: one[name] for name in ("reward", "action", "pscore")},
    }
    estimators = [
        theirs.InverseProbabilityWeighting(),
        theirs.SelfNormalizedInverseProbabilityWeighting(),
        theirs.DirectMethod(),
        theirs.DoublyRobust(),
        theirs.SelfNormalizedDoublyRobust(),
        theirs.SwitchDoublyRobust(tau=TAU),
        theirs.DoublyRobustWithShrinkage(lambda_=LAM),
    ]
    evaluation = theirs.OffPolicyEvaluation(bandit_feedback=feedback, ope_estimators=estimators)
    found = evaluation.estimate_policy_values(
        action_dist=one["action_dist"], estimated_rewards_by_reg_model=one["model"]
    )
    assert found == pytest.approx(ours_one(one), rel=1e-9)


def test_the_package_itself_on_slates(slates: dict[str, Doubles]) -> None:
    theirs = pytest.importorskip("obp.ope", reason="obp is no dependency: pip install obp==0.4.1")
    common = {
        "slate_id": np.repeat(np.arange(N), K),
        "reward": slates["r"].ravel(),
        "position": np.tile(np.arange(K), N),
    }
    joint, prefix = (lambda x: np.repeat(x.prod(axis=1), K)), (lambda x: x.cumprod(axis=1).ravel())
    found = {
        "sips": theirs.SlateStandardIPS(len_list=K).estimate_policy_value(
            **common, pscore=joint(slates["slot"]), evaluation_policy_pscore=joint(slates["slot_pi"])
        ),
        "rips": theirs.SlateRewardInteractionIPS(len_list=K).estimate_policy_value(
            **common,
            pscore_cascade=prefix(slates["slot"]),
            evaluation_policy_pscore_cascade=prefix(slates["slot_pi"]),
        ),
        "iips": theirs.SlateIndependentIPS(len_list=K).estimate_policy_value(
            **common,
            pscore_item_position=slates["position"].ravel(),
            evaluation_policy_pscore_item_position=slates["position_pi"].ravel(),
        ),
    }
    ours = ours_slates(slates)
    assert found == pytest.approx({name: ours[name] for name in found}, rel=1e-9)
