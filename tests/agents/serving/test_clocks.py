"""The clocks of serving: presets, what is refused, and refreshes at the ticks that they are due at."""

import dataclasses
from typing import Any, cast

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.serving.clocks import PRESETS, Clocks, clocks_of, period, refreshed
from feedgym.agents.serving.serving import Serving
from feedgym.agents.two_tower.settings import ServingConfig
from feedgym.env import Feed, FeedConfig
from helpers.towers import DEEP_ALONE

NAMES = ("item_refresh_hours", "reader_refresh_hours", "feature_lag_hours", "train_every_hours")


def hours_of(clocks: Clocks) -> tuple[float, ...]:
    return tuple(getattr(clocks, name) for name in NAMES)


def serving_of(**clocks: Any) -> Serving:
    return Serving(Clocks(**clocks), 0, 5, example_age=False)


def test_presets() -> None:
    assert {mode: (*hours_of(clocks), clocks.slates_ahead) for mode, clocks in PRESETS.items()} == {
        "realtime": (0.0, 0.0, 0.0, 6.0, False),
        "streaming": (0.5, 0.5, 0.25, 6.0, False),
        "batch": (24.0, 24.0, 0.0, 24.0, True),
    }
    for mode in PRESETS:
        assert ServingConfig(serving=mode).clocks == PRESETS[mode]


@pytest.mark.parametrize("mode", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_each_clock_can_be_set_by_itself(mode: Any, name: str) -> None:
    settings: dict[str, Any] = {"serving": mode, name: 3}
    assert ServingConfig(**settings).clocks == dataclasses.replace(PRESETS[mode], **cast(Any, {name: 3.0}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"serving": "nightly"}, "serving: got 'nightly', needs one of realtime, streaming, batch"),
        ({"item_refresh_hours": -1.0}, "item_refresh_hours: got -1.0, needs >= 0"),
        ({"feature_lag_hours": float("nan")}, "feature_lag_hours: got nan, needs >= 0"),
        ({"reader_refresh_hours": float("inf")}, "reader_refresh_hours: got inf, needs >= 0"),
        ({"train_every_hours": 0.0}, "train_every_hours: got 0.0, needs > 0"),
        ({"train_every_hours": "6h"}, "train_every_hours: got '6h', needs hours"),
        ({"serving": "batch", "reader_refresh_hours": 0.0}, "reader_refresh_hours: got 0.0, needs > 0"),
        ({"serving": "batch", "reader_refresh_hours": 168.0}, "reader_refresh_hours: got 168.0, needs at most 120"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServingConfig(**settings)


def test_modes_are_settings_of_learned_agents_only() -> None:
    assert make_agent("reinforce", serving="streaming").label == "reinforce:serving=streaming"
    with pytest.raises(ValueError, match="serving"):
        make_agent("popular", serving="batch")


def test_clocks_are_none_by_default_so_that_a_mode_sets_them() -> None:
    assert clocks_of("batch", None, None, None, None) == PRESETS["batch"]
    assert not clocks_of("realtime", None, None, None, None).readers_lag
    assert clocks_of("realtime", None, None, 1.0, None).readers_lag


@pytest.mark.parametrize("ticks_per_day", [24, 96, 144, 240, 288, 1440])
@pytest.mark.parametrize("multiple", [1, 2, 3, 5, 7, 9, 12, 18, 24])
def test_a_refresh_is_due_at_every_multiple_whatever_products_round_to(ticks_per_day: int, multiple: int) -> None:
    """14 * (24 / 240) is less than 1.4, and 24 / 240 * 3 more than .3."""
    tick_hours = 24.0 / ticks_per_day
    every = multiple * tick_hours
    serving = serving_of(item_refresh_hours=every, reader_refresh_hours=every, slates_ahead=True)
    ticks = range(14 * ticks_per_day)
    due = [[f(t * tick_hours) for t in ticks] for f in (serving.items_due, serving.slates_due)]
    assert due == [[t % multiple == 0 for t in ticks]] * 2
    assert [period(t * tick_hours, every) for t in ticks] == [t // multiple for t in ticks]


def test_a_refresh_between_ticks_comes_with_the_next_and_a_long_gap_skips_some() -> None:
    serving = serving_of(item_refresh_hours=0.7)
    hours = (0.0, 0.5, 1.0, 1.5, 5.0, 5.5, 6.0)
    assert [serving.items_due(now) for now in hours] == [True, False, True, True, True, False, True]
    assert [refreshed(now, 0.7) for now in hours] == pytest.approx([0.0, 0.0, 0.7, 1.4, 4.9, 4.9, 5.6])
    assert refreshed(3.3, 0.0) == 3.3
    always = serving_of()
    assert [always.items_due(now) for now in hours] == [True] * 7
    assert [always.slates_due(now) for now in hours] == [False] * 7


def test_due_refreshes_survive_a_snapshot() -> None:
    serving = serving_of(item_refresh_hours=2.0)
    assert [serving.items_due(h) for h in (0.0, 1.0)] == [True, False]
    other = serving_of(item_refresh_hours=2.0)
    other.restore(serving.snapshot())
    assert [other.items_due(h) for h in (1.5, 2.0, 3.0)] == [False, True, False]


@pytest.mark.parametrize("tick_hours", [0.1, 1 / 6, 0.25])
@pytest.mark.parametrize(
    ("settings", "hours"),
    [
        ({}, [6.0, 12.0, 18.0, 24.0, 30.0]),
        ({"item_refresh_hours": 1.5, "train_every_hours": 4.0}, [4.5, 9.0, 12.0, 16.5, 21.0, 24.0, 28.5, 33.0]),
        ({"item_refresh_hours": 9.0}, [9.0, 18.0, 27.0]),
        ({"serving": "batch", "train_every_hours": 5.0}, [24.0]),
        ({"serving": "batch", "reader_refresh_hours": 12.0, "item_refresh_hours": 6.0}, [24.0]),
    ],
)
def test_a_model_changes_when_it_can_be_put_to_work(
    settings: dict[str, Any], hours: list[float], tick_hours: float
) -> None:
    """At the first refresh of the items at or after the training's time; several that are overdue are one."""
    np.testing.assert_allclose(hours_of_change(settings, tick_hours), hours, atol=1e-9)


def test_no_training_waits_for_the_next_refresh_because_of_a_rounding() -> None:
    """Ten times 2.1 is more than 21."""
    changed = hours_of_change({"item_refresh_hours": 2.1, "train_every_hours": 2.1}, 0.1)
    np.testing.assert_allclose(changed, 2.1 * np.arange(1, 18), atol=1e-9)


def hours_of_change(settings: dict[str, Any], tick_hours: float) -> list[float]:
    """When the model changes within 36 hours."""
    feed = Feed(FeedConfig(num_readers=60, days=1.5, tick_hours=tick_hours), seed=1)
    agent: Any = make_agent("regression", max_steps=1, widths=(4,), dim=2, **DEEP_ALONE, **settings).start(feed)
    changed, version = [], 0
    while not feed.done:
        served = agent.act(feed.visits, feed.catalogue)
        assert served.policy_version in (version, version + 1)
        if agent.policy_version != version:
            changed.append(feed.now)
            version = agent.policy_version
        agent.learn(feed.serve(served.article_id))
    return changed
