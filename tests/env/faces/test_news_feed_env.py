"""The single face: a step is one visit of one reader, and the world below is the Feed's."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RecordEpisodeStatistics

import feedgym.env
from feedgym.env import Feed, FeedConfig, NewsFeedEnv, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.faces.observables import article_columns, nearest, newest
from feedgym.env.faces.registration import ENV_ID, register

K = 5
SITE = FeedConfig(days=5.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=120.0))
READERS = NewsReader(NewsReaderConfig(gap_median_hours=4.0, late_enrolment=False))
FICKLE = NewsReader(NewsReaderConfig(gap_median_hours=2.0, leaving_per_day=1.0, late_enrolment=False))


class Once(NewsReader):
    """Comes at the last tick of a one-day run, and leaves for good."""

    def enter(self, world: Any) -> "Once":
        return Once(self.config, centers=world.centers)

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return np.full(len(rows), 23.75)

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        return np.full(len(rows), np.inf)


class Talkative(NewsReader):
    """A reader model that shows the site its trust and an unbounded number."""

    observable_names = ("trust", "loud")

    def enter(self, world: Any) -> "Talkative":
        return Talkative(self.config, centers=world.centers)

    def observe(self, state: Any, rows: Any) -> Any:
        return np.stack([state["trust"][rows], np.full(len(rows), 1e6)], axis=1).astype(np.float32)


@pytest.fixture
def loud_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def site(**settings: Any) -> Any:
    env = NewsFeedEnv(**(dict[str, Any](config=SITE, reader_model=READERS) | settings))
    env.action_space.seed(0)
    return env


def queries(env: gymnasium.Env[Any, Any], seed: int = 0) -> Callable[[], Any]:
    env.action_space.seed(seed)
    return env.action_space.sample


def rollout(env: gymnasium.Env[Any, Any], seed: int, spoil: bool = False) -> list[tuple[Any, ...]]:
    """All steps of an episode under random queries; ``spoil`` overwrites every array once it has been copied."""
    draw = queries(env, seed)
    obs, info = env.reset(seed=seed)
    steps: list[tuple[Any, ...]] = []
    reward: Any = 0.0
    terminated = truncated = False
    while True:
        steps.append((obs.copy(), reward, terminated, truncated, *(np.copy(v) for v in info.values())))
        if terminated or truncated:
            return steps
        action = draw()
        if spoil:
            for array in (obs, *(v for v in info.values() if isinstance(v, np.ndarray))):
                array.fill(1)
        obs, reward, terminated, truncated, info = env.step(action)


def assert_same(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        for x, y in zip(left, right, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.usefixtures("loud_warnings")
@pytest.mark.parametrize("model", [READERS, Talkative(NewsReaderConfig(late_enrolment=False))])
def test_gymnasium_checker_is_silent(model: NewsReader) -> None:
    env = gymnasium.make(ENV_ID, config=SITE, reader_model=model)
    check_env(env.unwrapped)


@pytest.mark.usefixtures("loud_warnings")
def test_make_passes_settings_through_and_its_checks_are_silent() -> None:
    register()  # a second time: no warning
    default = gymnasium.make("feedgym.env:FeedGym/NewsFeed-v0").unwrapped
    assert isinstance(default, NewsFeedEnv)
    assert default.config.slate_size == FeedConfig().slate_size
    env = gymnasium.make(ENV_ID, reader_id=3, config=SITE, reader_model=READERS, num_candidates=4)
    steps = rollout(env, 0)
    assert len(steps) > 5
    assert isinstance(env.unwrapped, NewsFeedEnv)
    alone = dataclasses.replace(SITE, num_readers=1, first_reader_id=3, newcomers_per_day=0.0)
    assert env.unwrapped.feed.config == alone
    assert all(step[0] in env.observation_space for step in steps)


def test_same_seed_same_rollout_and_another_seed_another() -> None:
    env = site()
    first = rollout(env, 4)
    assert_same(first, rollout(env, 4))
    assert_same(first, rollout(site(), 4))
    assert not np.array_equal(first[0][0], rollout(env, 5)[0][0])


def test_reset_without_a_seed_draws_new_worlds_from_np_random() -> None:
    env = site()
    env.reset(seed=8)
    worlds = [env.feed.seed]
    for _ in range(2):
        env.reset()
        worlds.append(env.feed.seed)
    assert worlds[0] == 8
    assert len(set(worlds)) == 3
    env.reset(seed=8)
    env.reset()
    assert env.feed.seed == worlds[1]


@pytest.mark.parametrize(("model", "leaves"), [(READERS, False), (FICKLE, True)])
def test_face_equals_feed_driven_by_hand(model: NewsReader, leaves: bool) -> None:
    config = dataclasses.replace(SITE, num_readers=1, first_reader_id=6, newcomers_per_day=0.0)
    feed = Feed(config, model, 2)
    env = site(reader_id=6, reader_model=model)
    _, info = env.reset(seed=2)
    terminated = truncated = False
    steps = 0
    while not feed.done and not feed.has_left[0]:
        if len(feed.visits) == 0:
            feed.serve(np.zeros((0, K), dtype=np.int64))
            continue
        assert info["time_hours"] == feed.now
        assert info["visit"] == feed.visits.visit[0]
        assert info["hours_since_last_visit"] == feed.visits.gap_hours[0]
        slate = np.random.default_rng(steps).choice(np.sort(feed.catalogue.article_id), K, replace=False)
        outcome = feed.serve(slate[None])
        _, reward, terminated, truncated, info = env.step_slate(slate)
        steps += 1
        assert reward == outcome.reward[0]
        assert terminated == outcome.left[0]
        np.testing.assert_array_equal(info["article_id"], slate)
        np.testing.assert_array_equal(info["clicks"], outcome.clicks[0])
        np.testing.assert_array_equal(info["dwell_minutes"], outcome.dwell_minutes[0])
        assert info["subscribed"] == outcome.subscribed[0]
    assert steps > 3
    assert terminated == bool(feed.has_left[0]) == leaves
    assert truncated == (not leaves)
    if truncated:
        assert info["time_hours"] == 24.0 * SITE.days


def test_info_names_shapes_and_dtypes() -> None:
    env = site()
    _, info = env.reset(seed=0)
    expected = {
        "article_id": ((K,), np.int64),
        "clicks": ((K,), np.bool_),
        "dwell_minutes": ((K,), np.float32),
    }
    for step in range(3):
        for name, (shape, dtype) in expected.items():
            assert (info[name].shape, info[name].dtype) == (shape, dtype), name
        scalars = {n: type(v) for n, v in info.items() if n not in expected}
        assert scalars == {
            "subscribed": bool,
            "hours_since_last_visit": float,
            "time_hours": float,
            "visit": int,
        }
        assert info["visit"] == step
        assert (info["hours_since_last_visit"] > 0) == (step > 0)
        assert (info["article_id"] >= 0).all() == (step > 0)
        *_, info = env.step(env.action_space.sample())


def test_episode_statistics_are_the_sum_of_rewards() -> None:
    env = RecordEpisodeStatistics(site())
    steps = rollout(env, 3)
    returned = env.return_queue[0]
    assert len(env.return_queue) == env.episode_count == 1
    assert returned == pytest.approx(sum(step[1] for step in steps), rel=1e-6)
    assert env.length_queue[0] == len(steps) - 1
    assert returned > 0.0, "random queries earn something"


def test_reader_who_comes_after_the_horizon_is_truncated_at_once() -> None:
    late = NewsReader(NewsReaderConfig(enrolment_share=1.0, enrolment_window_hours=10_000.0))
    env = site(reader_model=late)
    obs, info = env.reset(seed=0)
    assert info["time_hours"] == 24.0 * SITE.days
    assert obs in env.observation_space
    obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert obs in env.observation_space
    assert (info["article_id"] == -1).all()
    assert (info["visit"], env.feed.num_left) == (0, 0)
    with pytest.raises(RuntimeError, match="reset"):
        env.step(env.action_space.sample())


def test_who_leaves_at_the_last_tick_is_terminated_and_not_truncated() -> None:
    env = site(reader_model=Once(), config=dataclasses.replace(SITE, days=1.0))
    _, info = env.reset(seed=0)
    assert info["time_hours"] == 23.75
    _, _, terminated, truncated, info = env.step(env.action_space.sample())
    assert (terminated, truncated, info["time_hours"]) == (True, False, 24.0)


def test_an_ended_episode_and_an_unborn_one_refuse_steps() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        site().step_slate(np.zeros(K, dtype=np.int64))
    env = site(reader_model=FICKLE)
    rollout(env, 2)
    with pytest.raises(RuntimeError, match="ended"):
        env.step(env.action_space.sample())


def test_entries_that_show_nothing_are_counted_and_cannot_be_clicked() -> None:
    eager = NewsReader(NewsReaderConfig(base_log_odds=40.0, late_enrolment=False, position_bias=False))
    env = site(reader_model=eager)
    env.reset(seed=0)
    live = np.sort(env.catalogue.article_id)
    expired = np.setdiff1d(np.arange(live[-1]), live)
    while len(expired) == 0:
        env.step(env.action_space.sample())
        live = np.sort(env.catalogue.article_id)
        expired = np.setdiff1d(np.arange(live[-1]), live)
    before = env.feed.invalid_entries
    slate = np.array([live[0], -1, live[0], expired[0], 2**31 - 2])
    _, reward, _, _, info = env.step_slate(slate)
    np.testing.assert_array_equal(info["clicks"], [True, False, False, False, False])
    assert (info["dwell_minutes"][1:] == 0).all()
    assert reward == info["dwell_minutes"][0] > 0
    assert env.feed.invalid_entries == before + 4


@pytest.mark.parametrize(
    ("slate", "message"),
    [
        (np.zeros(K + 1, dtype=np.int64), rf"article_id: got \({K + 1},\)"),
        (np.zeros((1, K), dtype=np.int64), rf"article_id: got \(1, {K}\)"),
        (np.zeros(K), "article_id: got dtype.'float64'"),
        (np.zeros(K, dtype=np.bool_), "article_id: got dtype.'bool'"),
    ],
)
def test_wrong_slates_are_refused_by_name(slate: Any, message: str) -> None:
    env = site()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step_slate(slate)
    _, _, _, _, info = env.step(env.action_space.sample())
    assert info["visit"] == 1, "the refused slate was not served"


def test_strict_sites_refuse_bad_entries() -> None:
    env = site(config=dataclasses.replace(SITE, strict=True))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="absent"):
        env.step_slate(np.full(K, -1))


def test_wrong_settings_and_wrong_queries_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="num_candidates: got 0"):
        site(num_candidates=0)
    with pytest.raises(ValueError, match="first_reader_id: got -1"):
        site(reader_id=-1)
    env = site()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(env.action_space.shape, np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match=r"action: got \(3,\)"):
        env.step(np.zeros(3, dtype=np.float32))


def test_returned_arrays_are_the_callers_own() -> None:
    assert_same(rollout(site(), 1), rollout(site(), 1, spoil=True))


def one_hot(env: Any, name: str) -> Any:
    query = np.zeros(env.action_space.shape, dtype=np.float32)
    query[env.article_names.index(name)] = 1.0
    return query


def test_a_query_that_points_at_a_topic_is_served_that_topic() -> None:
    env = site(config=FeedConfig(days=5.0, slate_size=K))
    env.reset(seed=0)
    for topic in (0, 5, 15):
        *_, info = env.step(one_hot(env, f"topic_{topic}"))
        shown = env.catalogue.categories_of(info["article_id"])[:, 0]
        np.testing.assert_array_equal(shown, np.full(K, topic))


def test_queries_for_the_fresh_and_for_the_popular() -> None:
    env = site()
    env.reset(seed=0)
    np.testing.assert_array_equal(env.retrieve(one_hot(env, "freshness")), newest(env.catalogue.article_id, K))
    for _ in range(8):
        env.step(env.action_space.sample())
    live = env.catalogue.article_id
    rate = (env.catalogue.clicks_of(live) + 1.0) / (env.catalogue.impressions_of(live) + 20.0)
    best = np.sort(rate)[::-1][:K]
    assert best[0] > 1.0 / 20.0, "something was clicked"
    served = env.retrieve(one_hot(env, "popularity"))
    of = dict(zip(live.tolist(), rate.tolist(), strict=True))
    np.testing.assert_allclose([of[a] for a in served.tolist()], best)


def test_nearest_equals_the_plain_version_with_ties_and_few_articles() -> None:
    rng = np.random.default_rng(0)
    for m in (0, 1, 3, 5, 40, 400):
        ids = rng.permutation(1000)[:m]
        columns = rng.integers(-1, 2, (m, 3)).astype(np.float32)  # many ties
        query = np.array([1.0, 0.5, -1.0], dtype=np.float32)
        ranked = sorted(range(m), key=lambda i: (-float(columns[i] @ query), -ids[i]))
        expected = [int(ids[i]) for i in ranked[:K]] + [-1] * max(0, K - m)
        assert nearest(query, columns, ids, K).tolist() == expected


def test_observation_columns_are_what_their_names_say() -> None:
    clicking = NewsReader(NewsReaderConfig(base_log_odds=-1.0, leaving=False, late_enrolment=False))
    env = site(num_candidates=7, reader_model=clicking)
    obs, info = env.reset(seed=2)
    assert obs.shape == (len(env.observation_names),) == env.observation_space.shape
    clicked: list[tuple[int, float]] = []
    while len(clicked) < 4:
        obs, *_, info = env.step(env.action_space.sample())
        minutes = info["dwell_minutes"]
        clicked += [(int(info["article_id"][k]), float(minutes[k])) for k in np.flatnonzero(info["clicks"])]
    at = dict(zip(env.observation_names, obs.tolist(), strict=True))
    archive = env.catalogue.archive
    weight = np.array([m for _, m in clicked]) / sum(m for _, m in clicked)
    ids = np.array([i for i, _ in clicked])
    # The site remembers minutes as float16.
    text = weight @ archive.column("text")[ids].astype(np.float64)
    np.testing.assert_allclose([at[f"liked_text_{d}"] for d in range(16)], text, atol=3e-3)
    for topic in range(16):
        share = weight[archive.column("topic")[ids] == topic].sum()
        assert at[f"liked_topic_{topic}"] == pytest.approx(share, abs=3e-3)
    mean = np.mean([m for _, m in clicked])
    assert at["minutes"] == pytest.approx(mean / (mean + 2.0), abs=3e-3)
    assert at["clicks"] == pytest.approx(len(clicked) / (len(clicked) + 20.0))
    assert at["visits"] == pytest.approx(info["visit"] / (info["visit"] + 20.0))
    gap = info["hours_since_last_visit"]
    assert at["gap"] == pytest.approx(gap / (gap + 24.0))
    angle = 2 * np.pi * info["time_hours"] / 24.0
    assert (at["hour_sin"], at["hour_cos"]) == pytest.approx((np.sin(angle), np.cos(angle)), abs=1e-6)
    for i, article in enumerate(np.sort(env.catalogue.article_id)[::-1][:7].tolist()):
        assert at[f"is_candidate_{i}"] == 1.0
        assert at[f"candidate_{i}_topic_{archive.column('topic')[article]}"] == 1.0
        age = info["time_hours"] - archive.column("published_hours")[article]
        assert at[f"candidate_{i}_freshness"] == pytest.approx(np.exp(-age / 6.0), abs=1e-6)
        assert at[f"candidate_{i}_text_3"] == pytest.approx(archive.column("text")[article, 3])


def test_absent_candidates_are_masked() -> None:
    env = site(num_candidates=4, config=FeedConfig(days=5.0, newsroom=NewsroomConfig(articles_per_day=0.0)))
    obs, _ = env.reset(seed=0)
    d = len(env.article_names)
    np.testing.assert_array_equal(obs[-4 * d - 4 :], 0.0)
    obs, reward, *_ = env.step(env.action_space.sample())
    assert reward == 0.0
    assert obs in env.observation_space


def test_what_a_reader_model_observes_is_shown_within_bounds() -> None:
    env = site(reader_model=Talkative(READERS.config))
    obs, _ = env.reset(seed=0)
    trust, loud = (env.observation_names.index(name) for name in ("trust", "loud"))
    assert obs[loud] == 10.0
    assert obs[trust] == 0.0
    obs, *_ = env.step(env.action_space.sample())
    assert obs[trust] == env.feed.state["trust"][0] != 0.0


def test_columns_of_articles_have_the_documented_width() -> None:
    env = site()
    env.reset(seed=0)
    live = env.catalogue.article_id
    assert article_columns(env.catalogue, live).shape == (len(live), len(env.article_names))
    assert feedgym.env.NewsFeedEnv is NewsFeedEnv
