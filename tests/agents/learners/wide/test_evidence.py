"""Sums of what readers had clicked, against the content channel that they stand for."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents.learners import RegressionConfig, RegressionLearner
from feedgym.agents.learners.wide.evidence import Evidence
from feedgym.env.arrays import Doubles, Ints
from helpers.draws import seeded
from helpers.logs.planted import OLDEST, PlantedLog


def made(**towers: Any) -> PlantedLog:
    log = PlantedLog(
        RegressionLearner(RegressionConfig(target="click")),
        lambda shown: np.full(shown.age.shape, -1.0),
        capacity=300,
        content_channel=True,
        **towers,
    )
    log.model.channel.crowd.copy_(torch.rand(log.model.channel.width, generator=seeded(5)))
    return log


@torch.no_grad()
def of_channel(log: PlantedLog, slot: Ints, article_id: Ints) -> Doubles:
    """The inner products of text and of topic, by the channel itself, one scale at 1 and the other at 0; (2, R)."""
    learning, model = log.learning, log.model
    batch = learning.replay.take(slot)
    mask = torch.from_numpy(batch.history_id >= 0)
    ids = np.where(batch.history_id >= 0, batch.history_id, 0)
    numeric, categorical = learning.store.features(ids.ravel())
    parts = []
    for scale in ([1.0, 0.0], [0.0, 1.0]):
        channel = copy.deepcopy(model.channel)
        channel.scale.copy_(torch.tensor(scale))
        clicked = channel.articles(numeric, categorical).reshape(*ids.shape, -1)
        minutes = None if batch.history_minutes is None else torch.from_numpy(np.log1p(batch.history_minutes))
        reader = channel.readers(clicked, mask, minutes)
        article = channel.articles(*learning.store.features(article_id))
        parts.append(channel.score(reader, article, pairs=False).numpy())
    return np.stack(parts)


@pytest.mark.parametrize("by_minutes", [True, False])
def test_sums_are_the_channels_own_for_every_visit_also_once_the_ring_has_wrapped(by_minutes: bool) -> None:
    log, evidence = made(click_minutes=by_minutes), Evidence()
    replay, store, channel = log.learning.replay, log.learning.store, log.model.channel
    assert channel.by_minutes == by_minutes
    for count, kept in ((100, 100), (150, 250), (0, 250), (170, 300), (700, 300)):
        if count:
            replay.append(log.visits(count))
        assert len(replay) == kept
        evidence.follow(replay, store, channel)
        slot = np.repeat(np.arange(kept), 3)
        article = np.arange(len(slot)) * 7 % len(store)
        match = evidence.match(slot, article, store, channel)
        wanted = of_channel(log, slot, article)
        np.testing.assert_allclose(match, wanted, atol=2e-5, rtol=1e-4)
        assert np.abs(wanted).max(axis=1).min() > 0.3
        unread = ~(replay.column("history_id")[slot] >= 0).any(axis=1)
        assert unread.any()
        assert (match[:, unread] == 0).all()
        # Made anew, as after a restore, they are the same bytes; whose histories are summed together does not matter.
        anew = Evidence()
        anew.follow(replay, store, channel)
        assert anew.match(slot, article, store, channel).tobytes() == match.tobytes()
    assert replay.total > 2 * replay.capacity


def test_a_visit_that_is_not_followed_is_not_known() -> None:
    """The check above can fail: sums of what stood in a slot before are not those of what stands there now."""
    log, evidence = made(), Evidence()
    replay, store, channel = log.learning.replay, log.learning.store, log.model.channel
    replay.append(log.visits(300))
    evidence.follow(replay, store, channel)
    replay.append(log.visits(100))
    slot = np.arange(300)
    match, wanted = evidence.match(slot, slot % 50, store, channel), of_channel(log, slot, slot % 50)
    off = np.abs(match - wanted).max(axis=0) > 1e-3
    assert off[:100].mean() > 0.5
    assert not off[100:].any()


def test_the_crowd_is_taken_off_when_it_is_asked_for() -> None:
    """It is renewed at each training: no history is summed anew for that."""
    log, evidence = made(), Evidence()
    replay, store, channel = log.learning.replay, log.learning.store, log.model.channel
    replay.append(log.visits(200))
    evidence.follow(replay, store, channel)
    slot = np.arange(200)
    before = evidence.match(slot, slot % 40, store, channel)
    channel.crowd.mul_(0.5)
    after = evidence.match(slot, slot % 40, store, channel)
    np.testing.assert_allclose(after, of_channel(log, slot, slot % 40), atol=2e-5, rtol=1e-4)
    assert np.abs(after - before).max() > 0.05


def test_the_fit_weighs_the_match_of_every_impression() -> None:
    """A planted taste for the topic that was clicked is found as the channel's second scale, and no other."""
    log = made()
    replay, store = log.learning.replay, log.learning.store

    def taste(shown: Any) -> Doubles:
        return np.full(shown.age.shape, -1.0)

    log.opens = taste
    batch = log.visits(300)
    known = batch.history_id >= 0
    topic = store.categorical[:, 0]
    same = (topic[batch.history_id][:, :, None] == topic[batch.article_id][:, None]) & known[:, :, None]
    chance = 1 / (1 + np.exp(1.5 - 1.5 * same.sum(axis=1)))
    batch.clicks = log.rng.random(chance.shape) < chance
    replay.append(batch)
    log.learner.begin(log.learning, OLDEST)
    text, topics = log.model.channel.scale.tolist()
    assert topics > 0.4
    assert abs(text) < 0.25 * topics
