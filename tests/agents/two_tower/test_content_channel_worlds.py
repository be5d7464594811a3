"""The content channel finds personal taste where there is some, and adds nothing where there is none."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import WORLDS, Feed, NewsReader

READERS, DAYS, FROM_HOURS = 200, 4.0, 72.0
# Taste alone decides what is clicked and read.
ONLY_TASTE = {
    **dict.fromkeys(("satiation", "fatigue", "headline_appeal", "leaving", "delayed_effects"), False),
    **dict.fromkeys(("quality_weight", "dwell_quality", "dwell_clickbait"), 0.0),
}


class Seen(NamedTuple):
    """What a run looked like from its third day on."""

    corr: float
    """Of the personal parts of scores and expected minutes: less what articles and readers have in common."""
    gain: float
    """Expected minutes of each reader's own list, over those of the list without the channel's columns, less 1."""
    minutes: float
    """Read, of a reader and day."""
    scale: list[float]


def personal(values: Any) -> Any:
    return values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()


def played(seed: int, reader: dict[str, Any], *, channel: bool) -> Seen:
    world = WORLDS["vivid"]
    site = dataclasses.replace(world.feed, num_readers=READERS, days=DAYS, tick_hours=0.5)
    model = NewsReader(dataclasses.replace(world.reader, **reader))
    feed = Feed(site, model, seed)
    agent: Any = make_agent("regression-dwell", sharpness=2.0, content_channel=channel).start(feed)
    looked = 0.85 ** np.arange(site.slate_size)
    products, minutes, paid = np.zeros(3), 0.0, np.zeros(2)
    while not feed.done:
        visits, catalogue = feed.visits, feed.catalogue
        slates = agent.act(visits, catalogue).article_id
        if feed.now > FROM_HOURS and len(visits) >= 5 and feed.tick % 2 == 0:
            live = catalogue.article_id
            scores = agent.score_all(visits, catalogue)
            response = model.expected_response(feed.state, visits.rows, catalogue.archive, live, visits.now)
            truth = response[0].astype(np.float64) * response[1]
            mine, true = personal(scores), personal(truth)
            products += (mine * true).sum(), (mine * mine).sum(), (true * true).sum()
            if channel:
                width = agent.model.channel.width
                queries = agent.drawer.queries(agent.serving.requests(visits))[:, -width:]
                without = scores - queries.astype(np.float64) @ agent.store.augmented[live, -width:].T
                for k, by in enumerate((scores, without)):
                    best = np.argsort(-by, axis=1)[:, : site.slate_size]
                    paid[k] += (np.take_along_axis(truth, best, axis=1) * looked).sum()
        outcome = feed.serve(slates)
        minutes += float(outcome.dwell_minutes.sum())
        agent.learn(outcome)
    corr = products[0] / np.sqrt(products[1] * products[2])
    scale = [s for c in agent.model.channels for s in c.scale.tolist()]
    gain = float(paid[0] / paid[1] - 1.0) if channel else 0.0
    return Seen(float(corr), gain, minutes / READERS / DAYS, scale)


def test_it_finds_taste() -> None:
    with_it = [played(seed, ONLY_TASTE, channel=True) for seed in (11, 12)]
    without = played(11, ONLY_TASTE, channel=False)
    assert min(min(seen.scale) for seen in with_it) > 0
    assert min(seen.corr for seen in with_it) > 0.25
    assert abs(without.corr) < 0.08
    assert min(seen.gain for seen in with_it) > 0.2
    assert with_it[0].minutes > 1.2 * without.minutes


def test_where_there_is_no_taste_it_adds_nothing() -> None:
    seen = [played(seed, {"personal_taste": False, "satiation": False}, channel=True) for seed in (11, 12)]
    # Over seeds 11 to 18: -.007 on average, and .018 apart from one to the next.
    assert np.mean([one.gain for one in seen]) == pytest.approx(0.0, abs=0.03)
    assert max(abs(one.corr) for one in seen) < 0.1
