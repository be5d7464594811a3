"""What an agent hands over with its slates: draw weights, marginals, whatever way they are worked out."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.agents.slate_policy.inclusion import inclusion_probability, slate_marginals
from feedgym.agents.slate_policy.policy import PolicyConfig, serve
from feedgym.agents.slate_policy.served import Served, marginals_of

RNG = np.random.default_rng(0)


def served(visits: int, listed: int, live: int, *, slate_size: int = 4, **policy: Any) -> Served:
    shortlist = RNG.permuted(np.tile(np.arange(live), (visits, 1)), axis=1)[:, :listed]
    logits = 2.0 * RNG.standard_normal((visits, listed))
    config = PolicyConfig(**policy)
    return serve(RNG, config, config.draw(logits, shortlist, live, slate_size), np.arange(live), 0)


def test_draw_weights_are_those_that_the_slots_follow() -> None:
    slates = served(50, 8, 30, epsilon=0.3)
    before = np.cumsum(slates.draw_weight, axis=1) - slates.draw_weight
    np.testing.assert_allclose(slates.slot_propensity * (1 - before), slates.draw_weight, rtol=1e-12)
    np.testing.assert_allclose(slates.draw_weight[~slates.in_shortlist], 0.3 / 30, rtol=1e-12)


def test_draw_weights_keep_their_digits_where_one_minus_the_rest_has_none() -> None:
    logits, shortlist = np.array([[60.0, 0.0, -1.0]]), np.array([[0, 1, 2]])
    config = PolicyConfig(epsilon=0.0)
    slates = serve(RNG, config, config.draw(logits, shortlist, 3, 3), np.arange(3), 0)
    assert slates.article_id[0, 0] == 0
    second = slates.article_id[0, 1]
    assert slates.log_weight[0, 1] == pytest.approx(logits[0, second] - 60.0, rel=1e-12)


def test_marginals_of_several_ticks_are_those_of_each() -> None:
    ticks = [
        served(3, 8, 30, epsilon=0.2),
        served(0, 8, 30, epsilon=0.2),
        served(2, 12, 40, epsilon=0.05),
        served(2, 8, 30, greedy=True),
        served(1, 3, 3, epsilon=0.5),  # fewer articles than positions
    ]
    together = marginals_of(ticks)
    start = 0
    for tick in ticks:
        rows = slice(start, start + len(tick.article_id))
        start = rows.stop
        for name, values in tick.marginals._asdict().items():
            np.testing.assert_allclose(getattr(together, name)[rows], values, rtol=1e-9)
        if tick.greedy:
            continue
        alone = slate_marginals(tick.article_id, tick.draw)
        np.testing.assert_allclose(tick.slot_marginal, alone.slot_marginal, rtol=1e-9)
        every = np.tile(np.arange(int(tick.num_live)), (len(tick.article_id), 1))
        policy = (tick.draw.logits, tick.draw.shortlist, tick.num_live, tick.epsilon, 4)
        total = inclusion_probability(every, *policy).sum(axis=1)
        assert total == pytest.approx(np.full(len(every), min(4.0, tick.num_live)), rel=1e-7)
    assert start == len(together.inclusion_time) == 8


def test_what_was_not_drawn_is_certain_and_has_no_time() -> None:
    greedy = served(2, 8, 30, greedy=True)
    assert greedy.inclusion.tolist() == greedy.slot_marginal.tolist() == [[1.0] * 4] * 2
    assert np.isnan(greedy.inclusion_time).all()
    assert np.isnan(greedy.draw_weight).all()
    config = PolicyConfig()
    empty = serve(RNG, config, config.draw(np.zeros((2, 1)), np.full((2, 1), -1), 0, 4), np.arange(0), 0)
    assert empty.inclusion.tolist() == [[1.0] * 4] * 2
    assert empty.draw_weight.tolist() == [[0.0] * 4] * 2


def test_marginals_are_worked_out_once_and_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from feedgym.agents.slate_policy import served as module

    calls: list[int] = []

    def counted(ticks: list[Served]) -> object:
        calls.append(len(ticks))
        return marginals_of(ticks)

    monkeypatch.setattr(module, "marginals_of", counted)
    slates = served(3, 8, 30)
    assert calls == []
    assert slates.inclusion.shape == slates.slot_marginal.shape == (3, 4)
    assert slates.inclusion_time.shape == (3,)
    assert calls == [1]
    assert dataclasses.replace(slates, policy_version=3).inclusion.tolist() == slates.inclusion.tolist()
    assert calls == [1, 1]
