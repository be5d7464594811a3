"""Returns of logged visits and the value head: a world whose value is known in closed form, and plain loops."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from feedgym.agents.learners.returns.future import Future, Visited, slot_rewards
from feedgym.env import Feed, FeedConfig, RewardConfig

HALF_LIFE = 2.0 ** (-1 / 24)


def poisson_visits(seed: int, readers: int, hours: float, rate: float = 0.1) -> Visited:
    """Readers who visit as a Poisson process and earn 1 a visit (docs/mathematics.md 4.3)."""
    rng = np.random.default_rng(seed)
    count = rng.poisson(rate * hours, readers)
    row = np.repeat(np.arange(readers), count)
    now = rng.random(len(row)) * hours
    shuffled = rng.permutation(len(row))
    return Visited(
        now=now[shuffled],
        row=row[shuffled],
        reader=rng.normal(size=(len(row), 2)).astype(np.float32),
        clicks=np.ones((len(row), 2), dtype=bool),
        slot_reward=np.tile(np.array([0.75, 0.25], dtype=np.float32), (len(row), 1)),
    )


def trained(visited: Visited, now: float, rounds: int = 12) -> Future:
    future = Future(2, HALF_LIFE, 0.7, torch.Generator().manual_seed(0))
    optimiser = torch.optim.Adam(future.parameters(), lr=1e-2)
    rng = np.random.default_rng(1)
    for _ in range(rounds):
        future.follow(visited, now)
        for _ in range(30):
            optimiser.zero_grad()
            loss, _ = future.loss(rng.integers(0, len(visited.now), 512))
            loss.backward()
            optimiser.step()
    future.follow(visited, now)
    return future


def test_values_of_a_poisson_reader_although_the_window_closes() -> None:
    visited = poisson_visits(0, 2000, 72.0)
    future = trained(visited, 72.0)
    # 3.4625 at any time is the value from the next visit on; late visits are bootstrapped, so not below it.
    assert future.future.mean() == pytest.approx(3.46246810, rel=0.04)
    late = visited.now > 60.0
    assert future.future[late].mean() == pytest.approx(3.46246810, rel=0.06)
    assert future.predict(future.state).mean(axis=0) == pytest.approx([1.0, 3.46246810], rel=0.05)
    np.testing.assert_allclose(future.share, [0.75, 0.25], rtol=1e-6)


def test_returns_equal_a_plain_loop() -> None:
    visited = poisson_visits(2, 40, 200.0)
    future = trained(visited, 200.0, rounds=2)
    value = future.predict(future.state).sum(axis=1)
    # The head has been rescaled since the returns were made, which changes no prediction.
    future.follow(visited, 200.0)
    for reader in range(40):
        mine = np.flatnonzero(visited.row == reader)
        mine = mine[np.argsort(visited.now[mine])]
        for i, j in pairwise(mine.tolist()):
            whole = future.reward[j] + future.future[j]
            ahead = HALF_LIFE ** (visited.now[j] - visited.now[i]) * (0.3 * value[j] + 0.7 * whole)
            assert future.future[i] == pytest.approx(ahead, rel=1e-4)


def test_rescaling_changes_no_prediction() -> None:
    visited = poisson_visits(3, 100, 72.0)
    future = trained(visited, 72.0, rounds=1)
    before = future.predict(future.state)
    future._rescale(np.random.default_rng(0).normal(5.0, 9.0, (50, 2)))
    np.testing.assert_allclose(future.predict(future.state), before, rtol=1e-4, atol=1e-5)
    assert float(future.sd[0]) > 4.0


def test_the_past_of_a_reader_is_his_own_and_earlier() -> None:
    visited = poisson_visits(4, 30, 200.0)
    rewards = np.random.default_rng(5).random(visited.slot_reward.shape).astype(np.float32)
    visited = Visited(visited.now, visited.row, visited.reader, visited.clicks, rewards)
    future = Future(2, HALF_LIFE, 0.7, torch.Generator().manual_seed(0))
    future.follow(visited, 200.0)
    mine = np.flatnonzero(visited.row == 7)
    mine = mine[np.argsort(visited.now[mine])]
    for place, slot in enumerate(mine):
        earlier = rewards[mine[:place]].sum(axis=1)[::-1]
        weight = 0.8 ** np.arange(place)
        mean = (weight * earlier).sum() / weight.sum() if place else 0.0
        assert future.state[slot, 2] == pytest.approx(np.log1p(mean), rel=1e-4)
        assert future.state[slot, 4] == pytest.approx(np.log1p(place), rel=1e-6)


def test_slot_rewards_add_up_to_what_the_feed_pays() -> None:
    weights = RewardConfig(click=0.5, dwell_minutes=2.0, subscription=30.0)
    feed = Feed(FeedConfig(num_readers=4000, days=1.0, reward=weights), seed=1)
    won = 0
    while not feed.done:
        live = feed.catalogue.article_id
        slates = np.random.default_rng(feed.tick).permuted(np.tile(live[-8:], (len(feed.visits), 1)), axis=1)
        outcome = feed.serve(slates)
        mine = slot_rewards(weights, outcome.clicks, outcome.dwell_minutes, outcome.subscribed)
        np.testing.assert_allclose(mine.sum(axis=1), outcome.reward, rtol=1e-5, atol=1e-5)
        assert not mine[~outcome.clicks].any()
        won += int(outcome.subscribed.sum())
    assert won > 0


def test_arrays_are_complete() -> None:
    visited = poisson_visits(6, 100, 72.0)
    future = trained(visited, 72.0, rounds=1)
    other = Future(2, HALF_LIFE, 0.7, torch.Generator().manual_seed(9))
    other.from_arrays(future.to_arrays())
    for one in (future, other):
        one.follow(visited, 72.0)
    np.testing.assert_array_equal(other.future, future.future)
    np.testing.assert_array_equal(other.predict(other.state), future.predict(future.state))
