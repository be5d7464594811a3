"""Opens from elsewhere in both Gymnasium faces: what is seen of them, and that each reader's are those of the Feed."""

import dataclasses
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

from feedgym.env import Feed, FeedConfig, NewsFeedEnv, NewsFeedVectorEnv, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.config import OrganicConfig

K, P = 4, 6
SITE = FeedConfig(
    num_readers=P,
    newcomers_per_day=0.0,
    days=4.0,
    slate_size=K,
    tick_hours=0.5,
    newsroom=NewsroomConfig(articles_per_day=120.0),
    organic=OrganicConfig(share=0.5, reference_opens_per_day=4.0, reward=0.5),
)
READERS = NewsReader(NewsReaderConfig(gap_median_hours=3.0, leaving_per_day=0.2))
NAMES = ("organic_article_id", "organic_channel", "organic_minutes")


def slate(catalogue: Any) -> Any:
    return np.sort(catalogue.article_id)[::-1][:K]


def test_the_vector_face_shows_each_readers_opens_at_the_tick_that_they_are_of() -> None:
    env, feed = NewsFeedVectorEnv(config=SITE, reader_model=READERS), Feed(SITE, READERS, 3)
    _, info = env.reset(seed=3)
    assert env.channel_names == ("search", "push", "social", "front_page")
    seen, rewards, paid = 0, np.zeros(P), np.zeros(P)
    while True:
        opens = feed.visits.opens
        expected = {name: np.full(P, fill) for name, fill in zip(NAMES, (-1, -1, 0.0), strict=True)}
        if opens is not None:
            for name, field in zip(NAMES, ("article_id", "channel", "dwell_minutes"), strict=True):
                expected[name][opens.rows] = getattr(opens, field)
            seen += len(opens)
            paid[opens.rows] += opens.reward * (feed.tick > 0)
        for name in NAMES:
            np.testing.assert_array_equal(info[name], expected[name])
            assert info[f"_{name}"].all()
        if feed.done:
            break
        slates = np.tile(slate(feed.catalogue), (P, 1))
        rows = feed.visits.rows
        outcome = feed.serve(slates[rows])
        paid[rows] += outcome.reward
        _, reward, _, _, info = env.step(slates)
        rewards += reward
    assert seen > 40
    np.testing.assert_allclose(rewards, paid, rtol=1e-5)


def test_the_single_face_shows_the_same_opens_between_its_visits() -> None:
    """Observations are those of the row, too: what was opened elsewhere counts among the clicks."""
    seen = 0
    for row in range(P):
        feed = Feed(dataclasses.replace(SITE, num_readers=1, first_reader_id=row), READERS, 3)
        single: Any = NewsFeedEnv(row, config=SITE, reader_model=READERS)
        obs, info = single.reset(seed=3)
        clicks_column = single.reader_names.index("clicks")
        found: list[tuple[float, int, int]] = []
        ended, total = False, 0.0
        while True:
            found += zip(info["organic_hours"], info["organic_article_id"], info["organic_channel"], strict=True)
            clicks = int(single.feed.records.click_count[0])
            assert obs[clicks_column] == np.float32(clicks / (clicks + 20.0))
            if ended:
                break
            obs, reward, terminated, truncated, info = single.step_slate(slate(single.catalogue))
            ended, total = terminated or truncated, total + reward
        expected: list[tuple[float, int, int]] = []
        paid, first = 0.0, True
        while not feed.done:
            opens = feed.visits.opens
            first = first and int(feed.records.visit_count[0]) == 0
            if opens is not None:
                expected += zip([opens.now], opens.article_id, opens.channel, strict=True)
                paid += 0.0 if first else float(opens.reward[0])
            slates = np.tile(slate(feed.catalogue), (len(feed.visits), 1))
            paid += float(feed.serve(slates).reward.sum())
        assert found == expected
        seen += len(found)
        np.testing.assert_allclose(total, paid, rtol=1e-5)
    assert seen > 40


def test_without_opens_nothing_of_them_is_in_info() -> None:
    plain = dataclasses.replace(SITE, organic=OrganicConfig())
    for env in (NewsFeedEnv(config=plain), NewsFeedVectorEnv(config=plain)):
        _, info = env.reset(seed=1)
        assert not [name for name in info if "organic" in name]


def test_the_checker_of_gymnasium_has_nothing_to_say() -> None:
    env = gymnasium.make("feedgym.env:FeedGym/NewsFeed-v0", config=SITE, reader_model=READERS)
    check_env(env.unwrapped, skip_render_check=True)
