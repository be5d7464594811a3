"""What goes through the item tower: an article once when it appears and once for each refresh, never for a visit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import parse_agent
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.inside import replay_of
from helpers.towers import DEEP_ALONE_WORDS

SITE = FeedConfig(num_readers=150, days=2.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=80))


def count_rows(model: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> dict[bool, list[int]]:
    """Rows of each call of an embedding method, apart by whether gradients are wanted (a step) or not (serving)."""
    rows: dict[bool, list[int]] = {True: [], False: []}
    embed: Callable[..., Any] = getattr(model, method)

    def counted(numeric: torch.Tensor, *args: Any) -> Any:
        rows[torch.is_grad_enabled()].append(len(numeric))
        return embed(numeric, *args)

    monkeypatch.setattr(model, method, counted)
    return rows


@pytest.mark.parametrize("name", ["contrastive", "regression", "contrastive:share=none", "contrastive:encoder=nrms"])
def test_serving_embeds_an_article_when_it_appears_and_at_each_refresh(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(SITE, seed=1)
    more = "," if ":" in name else ":"
    agent: Any = parse_agent(f"{name}{more}max_steps=2,train_every_hours=12.0,{DEEP_ALONE_WORDS}").start(feed)
    rows = count_rows(agent.model, "embed_items", monkeypatch)
    expected, visits, refreshes = [], 0, 0
    while feed.now < 30.0:
        version, catalogue = agent.policy_version, feed.catalogue
        if len(catalogue.arrived):
            expected.append(len(catalogue.arrived))
        slates = agent.act(feed.visits, catalogue)
        if agent.policy_version > version:
            refreshes += 1
            # All of a fortnight: what histories may name.
            expected.append(len(agent.store))
        visits += len(feed.visits)
        agent.learn(feed.serve(slates.article_id))
    assert rows[False] == expected
    assert refreshes == 2
    assert visits > 300  # a pass for each visit, or tick, would show


@pytest.mark.parametrize(
    "name", ["contrastive:share=none", "contrastive:share=embeddings", "regression:history_gradient=True"]
)
def test_a_step_embeds_each_article_of_the_batch_and_of_its_histories_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(SITE, seed=1)
    agent: Any = parse_agent(f"{name},max_steps=1,{DEEP_ALONE_WORDS}").start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    items = count_rows(agent.model, "embed_items", monkeypatch)
    clicks = count_rows(agent.model, "embed_history", monkeypatch)
    batches: list[Any] = []
    take = replay_of(agent).take

    def recorded(slots: np.ndarray) -> Any:
        batches.append(take(slots))
        return batches[-1]

    monkeypatch.setattr(replay_of(agent), "take", recorded)
    agent.step()
    (batch,) = batches
    history = np.unique(batch.history_id[batch.history_id >= 0])
    shown = np.unique(batch.article_id[batch.article_id >= 0])
    (embedded,) = clicks[True]
    assert len(history) > 20
    assert np.count_nonzero(batch.history_id >= 0) > 2 * len(history)  # one row for each click would show
    # Pads stand for article 0.
    assert embedded in (len(history), len(history) + 1)
    assert all(rows <= max(len(shown), len(history) + 1) for rows in items[True])
