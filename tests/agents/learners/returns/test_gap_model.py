"""The return model finds what made the gaps: planted numbers here, the world's own in test_gaps_of_the_world.py."""

import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents.learners import ReturnConfig
from feedgym.agents.learners.returns.gap_likelihood import R
from feedgym.agents.learners.returns.gap_model import ReturnModel, discounts
from feedgym.agents.learners.returns.sessions import Sessions
from feedgym.env.arrays import Doubles

NAMES = ("opened", "quality", "clickbait", "log_opened")
EFFECTS: Doubles = np.array([0.3, 0.2, -0.35, 0.1])
SLOW, SHAPE, SPREAD, LEFT, MEDIAN = 0.7, 1.67, 0.6, 0.01, math.log(9.0)


def simulated(
    seed: int, readers: int = 300, days: float = 5.0, effects: Doubles = EFFECTS, left: float = LEFT
) -> tuple[Sessions, float]:
    """Sessions drawn from the model itself, all readers at once: who leaves and who is away when it ends are open."""
    rng, end = np.random.default_rng(seed), 24.0 * days
    own = rng.normal(0.0, SPREAD, readers)
    time = rng.random(readers) * np.exp(MEDIAN + own)
    slow = np.zeros((readers, len(effects)))
    rows: list[tuple[Any, ...]] = []
    place, there = 0, np.flatnonzero(time < end)
    while len(there):
        x = rng.normal(0.0, 0.8, (readers, len(effects)))
        x[:, 0] = rng.random(readers) < 0.7
        x[:, 1:] *= x[:, :1]
        slow = 0.8 * slow + 0.2 * x
        gap = np.exp(MEDIAN + own - (x + SLOW * slow) @ effects) * rng.exponential(size=readers) ** (1.0 / SHAPE)
        back = np.where(rng.random(readers) < left, np.inf, time + gap)
        length = np.minimum(back, end) - time
        rows += [(i, place, time[i], length[i], back[i] >= end, x[i], slow[i]) for i in there]
        time = back
        place, there = place + 1, there[time[there] < end]
    rows.sort(key=lambda row: row[:2])
    who, places, start, length, is_open, xs, slows = (np.array(column) for column in zip(*rows, strict=True))
    sessions = Sessions(
        row=who,
        start=start,
        minutes=np.full(len(who), 2.0),
        x=xs,
        slow=slows,
        place=places,
        gap_hours=length,
        gap=np.maximum(length, 1e-2),
        is_open=is_open,
    )
    return sessions, end


def fitted(seed: int, config: ReturnConfig | None = None, **how: Any) -> ReturnModel:
    model = ReturnModel(config or ReturnConfig(), NAMES)
    model.fit(*simulated(seed, **how))
    return model


def test_planted_numbers_are_found_within_their_errors() -> None:
    """Eight seeds: at most a tenth beyond 2.5 standard errors, no mean that is off, errors as large as stated."""
    off = []
    for seed in range(8):
        model = fitted(seed)
        error = np.sqrt(np.diag(model.snapshot()["covariance"]))
        planted = [math.log(SHAPE), SLOW, *EFFECTS]
        found = [math.log(model.shape), model.slow_share, *model.beta]
        off.append((np.array(found) - planted) / error[[1, 2, 4, 5, 6, 7]])
        assert model.reader_sd == pytest.approx(SPREAD, abs=0.1)
        assert model.snapshot()["left"] == pytest.approx(LEFT, abs=0.008)
        assert model.guard > 0.9
    scores = np.array(off)
    assert (np.abs(scores) < 2.5).mean() >= 0.9
    assert (np.abs(scores.mean(axis=0)) < 1.3).all()
    assert 0.6 < np.sqrt((scores**2).mean()) < 1.4
    # The check can fail: these are not standard errors of anything else.
    assert (np.abs(scores + 0.05 / error[[1, 2, 4, 5, 6, 7]]) < 2.5).mean() < 0.9


def test_without_correction_for_the_readers_effects_gaps_look_too_regular() -> None:
    """A short window: two or three gaps a reader. The shape is found all the same."""
    found = [fitted(seed, days=1.5, readers=600).shape for seed in range(4)]
    assert np.mean(found) == pytest.approx(SHAPE, abs=0.1)


def test_who_has_left_is_not_taken_for_long_gaps() -> None:
    many = [fitted(seed, left=0.08) for seed in range(3)]
    assert np.mean([model.snapshot()["left"] for model in many]) == pytest.approx(0.08, abs=0.02)
    assert np.mean([model.shape for model in many]) == pytest.approx(SHAPE, abs=0.1)


def test_no_effect_no_worth() -> None:
    """Of eight runs without effects the guard leaves a small part; unguarded it is noise of the same size as ever."""
    nothing = np.zeros(4)
    guarded, plain = [], []
    for seed in range(8):
        model = fitted(seed, days=3.0, effects=nothing)
        guarded.append(model.guard)
        plain.append(fitted(seed, ReturnConfig(guard=False), days=3.0, effects=nothing).guard)
    assert plain == [1.0] * 8
    assert np.median(guarded) < 0.1
    assert np.mean(guarded) < 0.35


def test_worth_is_the_formula() -> None:
    model = fitted(1)
    x = np.array([[1.0, 0.5, -1.0, math.log(2.0)], [1.0, -1.0, 2.0, math.log(2.0)]])
    believed = 1.0 - 4.0 / (model.beta @ np.linalg.inv(model.beta_covariance) @ model.beta)
    assert model.guard == pytest.approx(believed)
    expected = believed * 2.0 * (1.0 + model.slow_share) * (x @ model.beta)
    np.testing.assert_allclose(model.value(x), expected, rtol=1e-12)
    assert model.value(x)[0] > 0.0 > model.value(x)[1]
    half = fitted(1, ReturnConfig(discount_per_hour=0.98, guard=False))
    kept = 0.98 ** half.snapshot()["gap_hours"]
    late = 0.2 / (1.0 - 0.8 * kept * (1.0 - half.snapshot()["left"]))
    rate = -math.log(0.98) * half.snapshot()["gap_hours"]
    expected = 2.0 * (1.0 + half.slow_share * late) * rate * kept / (1.0 - kept) * (x @ half.beta)
    np.testing.assert_allclose(half.value(x), expected, rtol=1e-12)


def test_discounts() -> None:
    """docs/mathematics.md 10.5."""
    assert discounts(1.0, 8.0, 0.9) == (1.0, 1.0)
    assert discounts(0.98, 8.0, 1.0) == pytest.approx((0.6261945, 0.9213650), abs=1e-7)
    assert discounts(0.98, 30.0, 0.99) == pytest.approx((0.3521273, 0.7273848), abs=1e-7)
    # By hand: a slow state that passes on a (1 - a)^j of a session, gap after gap.
    kept = 0.98**8
    assert discounts(0.98, 8.0, 1.0)[0] == pytest.approx(sum(0.2 * 0.8**j * kept**j for j in range(200)))
    # A gap that is shorter by a share d brings all later visits forward: sum of g^(k gap), each worth -log(g) gap d.
    assert discounts(0.98, 8.0, 1.0)[1] == pytest.approx(-math.log(0.98) * 8.0 * sum(kept**k for k in range(1, 400)))
    assert discounts(1.0 - 1e-9, 8.0, 1.0) == pytest.approx((1.0, 1.0), abs=1e-6)


def test_minutes_are_those_of_the_last_two_days() -> None:
    sessions, end = simulated(2)
    minutes = np.where(sessions.start >= end - 48.0, 7.0, 1.0)
    model = ReturnModel(ReturnConfig(), NAMES)
    model.fit(Sessions(**{**vars(sessions), "minutes": minutes}), end)
    assert model.metrics(np.zeros((0, 4)))["return/minutes_per_session"] == 7.0


def test_a_few_gaps_are_not_fitted() -> None:
    sessions, _ = simulated(0, readers=12, days=1.0)
    model = ReturnModel(ReturnConfig(), NAMES)
    model.fit(sessions, 24.0)
    assert np.count_nonzero(~sessions.is_open) < 50
    assert not model.is_fitted
    assert model.metrics(np.ones((2, 4))) == {}
    assert (model.value(np.ones((2, 4))) == 0.0).all()


def test_metrics_have_every_column_and_the_best_and_worst_article() -> None:
    model = fitted(0)
    live = np.array([[1.0, 2.0, -2.0, 0.7], [1.0, 0.0, 0.0, 0.7], [1.0, -2.0, 2.0, 0.7]])
    told = model.metrics(live)
    assert told["return/worth_best"] == model.value(live)[0] > 0.0
    assert told["return/worth_worst"] == model.value(live)[2] < 0.0
    for i, name in enumerate(NAMES):
        assert told[f"return/beta_{name}"] == model.beta[i]
        assert told[f"return/error_{name}"] == math.sqrt(model.beta_covariance[i, i])
    assert told["return/slow_share_error"] == math.sqrt(model.snapshot()["covariance"][R, R])
    assert all(isinstance(value, float) and math.isfinite(value) for value in told.values())


def test_goes_on_from_a_snapshot_with_the_same_bytes() -> None:
    """The next fit starts where the last one ended, so that what it starts from is part of the state."""
    model, again = fitted(0, days=2.0), ReturnModel(ReturnConfig(), NAMES)
    state = model.snapshot()
    again.restore({name: np.array(values) for name, values in state.items()})
    sessions, end = simulated(0, readers=350, days=3.0)
    cold = ReturnModel(ReturnConfig(steps=2), NAMES)
    for one in (model, again, cold):
        one.fit(sessions, end)
    for name, values in model.snapshot().items():
        assert values.tobytes() == again.snapshot()[name].tobytes()
    assert model.beta.tobytes() != cold.beta.tobytes()


def test_settings_are_checked() -> None:
    refused: tuple[tuple[str, Any, str], ...] = (
        ("discount_per_hour", 0.0, r"in \(0, 1\]"),
        ("ridge", 0.0, "> 0"),
        ("steps", 0, ">= 1"),
    )
    for name, value, allowed in refused:
        with pytest.raises(ValueError, match=rf"{name}: got {value}, needs {allowed}"):
            ReturnConfig(**{name: value})
