"""What an agent hands over with its slates: what they were drawn from, marginals, however these are worked out."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from feedgym.agents.slate_policy.inclusion import inclusion_probability, slate_marginals
from feedgym.agents.slate_policy.policy import PolicyConfig, serve
from feedgym.agents.slate_policy.served import Served, marginals_of, times_of
from feedgym.agents.slate_policy.softmax import columns_in_shortlist

RNG = np.random.default_rng(0)


def served(visits: int, listed: int, live: int, *, slate_size: int = 4, **policy: Any) -> Served:
    shortlist = RNG.permuted(np.tile(np.arange(live), (visits, 1)), axis=1)[:, :listed]
    logits = 2.0 * RNG.standard_normal((visits, listed))
    config = PolicyConfig(**policy)
    return serve(RNG, config, config.draw(logits, shortlist, live, slate_size), np.arange(live), 0)


def test_what_a_log_keeps_says_the_softmax() -> None:
    slates = served(50, 8, 30, epsilon=0.3)
    column = columns_in_shortlist(slates.article_id, slates.draw.shortlist)
    p = np.exp(slates.draw.logits)
    p /= p.sum(axis=1, keepdims=True)
    listed = column >= 0
    assert listed.tolist() == slates.in_shortlist.tolist()
    assert not listed.all()
    expected = np.where(listed, np.take_along_axis(p, np.maximum(column, 0), axis=1), 0.0)
    np.testing.assert_allclose(np.exp(slates.log_p), expected, rtol=1e-12)
    assert slates.num_explored == 4 * slates.explored.sum() > 0


def test_cheap_chances_are_near_the_exact_ones_and_sum_to_the_slate() -> None:
    slates = served(200, 100, 800, slate_size=8, epsilon=0.1)
    np.testing.assert_allclose(slates.chances.inclusion, slates.inclusion, rtol=0.03)
    np.testing.assert_allclose(slates.chances.time, slates.inclusion_time, rtol=1e-9)
    first = slates.marginals.slot_marginal[:, 0]
    np.testing.assert_allclose(slates.chances.first[:, 0], first, rtol=1e-7)


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
        np.testing.assert_allclose(times_of([tick]), tick.inclusion_time, rtol=1e-12)
    assert start == len(together.inclusion_time) == 8


def test_what_was_not_drawn_is_certain_and_has_no_time() -> None:
    greedy = served(2, 8, 30, greedy=True)
    assert greedy.inclusion.tolist() == greedy.slot_marginal.tolist() == [[1.0] * 4] * 2
    assert np.isnan(greedy.inclusion_time).all()
    assert np.isnan(greedy.log_normaliser).all()
    assert greedy.chances.inclusion.tolist() == greedy.chances.first.tolist() == [[1.0] * 4] * 2
    assert not greedy.explored.any()
    config = PolicyConfig()
    empty = serve(RNG, config, config.draw(np.zeros((2, 1)), np.full((2, 1), -1), 0, 4), np.arange(0), 0)
    assert empty.inclusion.tolist() == [[1.0] * 4] * 2


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
