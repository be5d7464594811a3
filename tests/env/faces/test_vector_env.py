"""The vector face: P readers on one clock, equal to the single face reader by reader, and to the Feed."""

import dataclasses
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

from feedgym.env import Feed, FeedConfig, NewsFeedEnv, NewsFeedVectorEnv, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.faces.registration import ENV_ID

K, P = 5, 7
SITE = FeedConfig(
    num_readers=P,
    newcomers_per_day=0.0,
    days=4.0,
    slate_size=K,
    tick_hours=0.5,
    newsroom=NewsroomConfig(articles_per_day=120.0),
)
# Some leave, some stay; some enrol after the horizon.
READERS = NewsReader(
    NewsReaderConfig(gap_median_hours=3.0, leaving_per_day=0.3, enrolment_share=0.3, enrolment_window_hours=150.0)
)
BACKGROUND = np.iinfo(np.int64).min
"""What absent rows hold in these tests: were one served, it would be an invalid entry."""


class Talkative(NewsReader):
    """A reader model that shows the site its trust."""

    observable_names = ("trust",)

    def enter(self, world: Any) -> "Talkative":
        return Talkative(self.config, centers=world.centers)

    def observe(self, state: Any, rows: Any) -> Any:
        return state["trust"][rows][:, None]


@pytest.fixture
def loud_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def site(num_envs: int | None = None, **settings: Any) -> NewsFeedVectorEnv:
    return NewsFeedVectorEnv(num_envs, **(dict[str, Any](config=SITE, reader_model=READERS) | settings))


def slate_for(reader_id: int, visit: int, live: Any) -> Any:
    """A slate that depends on reader, visit and the live articles only; some entries show nothing."""
    rng = np.random.default_rng((reader_id, visit))
    slate = rng.choice(np.sort(live), K, replace=False)
    if rng.random() < 0.3:
        slate[rng.integers(K)] = -1
        slate[rng.integers(K)] = slate[0]
    return slate


def slates(env: NewsFeedVectorEnv, background: int = -1) -> Any:
    actions = np.full((env.num_envs, env.config.slate_size), background, dtype=np.int64)
    visits = env.visits
    for row, reader, visit in zip(visits.rows, visits.reader_id, visits.visit, strict=True):
        actions[row] = slate_for(int(reader), int(visit), env.catalogue.article_id)
    return actions


def ticks(env: NewsFeedVectorEnv, seed: int, *, background: int = -1, spoil: bool = False) -> list[Any]:
    """Everything that the env returns from reset to the horizon, copied."""
    obs, info = env.reset(seed=seed)
    nothing = np.zeros(env.num_envs)
    steps: list[Any] = [copied((obs, nothing, nothing > 0, nothing > 0, info))]
    while not env.feed.done:
        actions = slates(env, background)
        returned = env.step(actions)
        steps.append(copied(returned))
        if spoil:
            overwrite(returned)
            actions[:] = 1
    return steps


def copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: copied(value) for name, value in data.items()}
    return tuple(copied(v) for v in data) if isinstance(data, tuple) else np.copy(data)


def overwrite(data: Any) -> None:
    for value in data.values() if isinstance(data, dict) else data:
        if isinstance(value, np.ndarray):
            value.fill(1)
        else:
            overwrite(value)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("loud_warnings")
def test_make_vec_is_silent_and_makes_a_reader_of_each_sub_environment() -> None:
    env = gymnasium.make_vec(ENV_ID, num_envs=5, vectorization_mode="vector_entry_point")
    assert isinstance(env, NewsFeedVectorEnv)
    assert env.num_envs == env.config.num_readers == 5
    assert env.metadata["autoreset_mode"] is env.autoreset_mode is AutoresetMode.DISABLED
    assert env.action_space.shape == (5, 8)
    assert env.action_space.dtype == np.int64
    env.action_space.seed(0)
    obs, _ = env.reset(seed=0)
    for _ in range(20):
        assert obs in env.observation_space
        for i in range(5):
            assert {name: np.asarray(obs[name][i]) for name in obs} in env.single_observation_space
        obs, *_ = env.step(env.action_space.sample())
    env.close()


@pytest.mark.usefixtures("loud_warnings")
def test_make_vec_passes_settings_through_in_both_modes() -> None:
    settings: dict[str, Any] = {"config": SITE, "reader_model": READERS}
    env = gymnasium.make_vec(ENV_ID, num_envs=3, **settings)
    assert isinstance(env, NewsFeedVectorEnv)
    assert env.config == dataclasses.replace(SITE, num_readers=3)
    assert env.reader_model is READERS
    copies = gymnasium.make_vec(ENV_ID, num_envs=2, vectorization_mode="sync", **settings)
    obs, _ = copies.reset(seed=0)
    assert obs.shape[0] == 2
    copies.step(np.zeros(copies.action_space.shape, dtype=np.float32))
    assert site().num_envs == P
    assert site(num_envs=2).num_envs == 2


@pytest.mark.parametrize("num_readers", [1, P])
def test_every_row_equals_the_single_face_on_the_same_newsroom(num_readers: int) -> None:
    env = site(num_readers)
    steps = ticks(env, seed=7)
    visits_seen = 0
    kinds = set()
    for row in range(num_readers):
        single: Any = NewsFeedEnv(row, config=SITE, reader_model=READERS)
        obs, info = single.reset(seed=7)
        f = len(single.reader_names)
        ended = False
        for before, after in itertools.pairwise(steps):
            if not before[0]["present"][row]:
                assert after[1][row] == 0.0
                assert (after[4]["article_id"][row] == -1).all()
                if not ended and after[3][row]:  # never enrolled: truncated without a visit
                    obs, _, _, truncated, info = single.step_slate(np.full(K, -1))
                    assert truncated
                    assert info["visit"] == 0
                    ended = True
                    kinds.add("never came")
                continue
            visits_seen += 1
            assert not ended
            assert info["time_hours"] == before[4]["time_hours"][row]
            assert info["hours_since_last_visit"] == before[4]["hours_since_last_visit"][row]
            assert info["visit"] == before[4]["visit"][row]
            np.testing.assert_array_equal(obs[:f], before[0]["reader"][row])
            np.testing.assert_array_equal(obs[f : f + 2], before[0]["clock"][row])
            slate = slate_for(row, info["visit"], single.catalogue.article_id)
            np.testing.assert_array_equal(slate, after[4]["article_id"][row])
            obs, reward, terminated, truncated, info = single.step_slate(slate)
            assert reward == after[1][row]
            assert terminated == after[2][row]
            for name in ("clicks", "dwell_minutes", "subscribed"):
                np.testing.assert_array_equal(info[name], after[4][name][row])
            ended = terminated or truncated
            if ended:
                last = after if terminated else steps[-1]
                kinds.add("left" if terminated else "stayed")
                assert last[3][row] == truncated
                np.testing.assert_array_equal(obs[:f], last[0]["reader"][row])
                assert info["hours_since_last_visit"] == last[4]["hours_since_last_visit"][row]
        assert ended
    assert visits_seen > 5 * num_readers
    assert kinds == ({"stayed"} if num_readers == 1 else {"left", "stayed", "never came"})


def test_vector_face_equals_feed_driven_by_hand() -> None:
    env = site()
    steps = ticks(env, seed=5)
    feed = Feed(SITE, READERS, 5)
    for before, after in itertools.pairwise(steps):
        visits = feed.visits
        rows = visits.rows
        np.testing.assert_array_equal(np.flatnonzero(before[0]["present"]), rows)
        served = [
            slate_for(int(r), int(v), feed.catalogue.article_id)
            for r, v in zip(visits.reader_id, visits.visit, strict=True)
        ]
        outcome = feed.serve(np.array(served, dtype=np.int64).reshape(-1, K))
        np.testing.assert_array_equal(after[1][rows], outcome.reward)
        np.testing.assert_array_equal(after[4]["dwell_minutes"][rows], outcome.dwell_minutes)
        np.testing.assert_array_equal(after[4]["clicks"][rows], outcome.clicks)
        np.testing.assert_array_equal(np.flatnonzero(after[2]), rows[outcome.left])
    assert feed.done
    np.testing.assert_array_equal(feed.has_left, env.feed.has_left)
    for name, array in feed.snapshot().items():
        np.testing.assert_array_equal(array, env.feed.snapshot()[name], err_msg=name)


def test_each_row_ends_once_and_is_absent_after_it_left() -> None:
    big = site(40)
    steps = ticks(big, seed=0)
    terminated = np.array([s[2] for s in steps])
    truncated = np.array([s[3] for s in steps])
    present = np.array([s[0]["present"] for s in steps]) == 1
    left = terminated.any(axis=0)
    np.testing.assert_array_equal(terminated.sum(axis=0), left)
    np.testing.assert_array_equal(left, big.feed.has_left)
    assert 3 < left.sum() < 37, "some leave, some stay"
    assert not truncated[:-1].any()
    np.testing.assert_array_equal(truncated[-1], ~left)
    assert not (np.cumsum(terminated, axis=0).astype(bool) & present).any()
    assert not present[-1].any(), "nobody visits at the horizon"
    with pytest.raises(RuntimeError, match="horizon"):
        big.step(np.full((40, K), -1))


def test_episode_statistics_count_each_reader_once() -> None:
    inner = site(40)
    env = RecordEpisodeStatistics(inner)
    env.reset(seed=0)
    total = np.zeros(40)
    while not inner.feed.done:
        _, rewards, *_ = env.step(slates(inner))
        total += rewards
    assert env.episode_count == 40
    assert total.sum() > 0
    np.testing.assert_allclose(np.sort(env.return_queue), np.sort(total), rtol=1e-6)


def test_info_arrays_lead_with_readers_and_suit_gymnasiums_list_wrapper() -> None:
    env = site()
    _, info = env.reset(seed=0)
    expected = {
        "article_id": ((P, K), np.int64),
        "clicks": ((P, K), np.bool_),
        "dwell_minutes": ((P, K), np.float32),
        "subscribed": ((P,), np.bool_),
        "hours_since_last_visit": ((P,), np.float64),
        "time_hours": ((P,), np.float64),
        "visit": ((P,), np.int64),
    }
    while len(env.visits) == 0:
        *_, info = env.step(slates(env))
    for _ in range(2):
        assert info.keys() == expected.keys() | {f"_{name}" for name in expected}
        for name, (shape, dtype) in expected.items():
            assert (info[name].shape, info[name].dtype) == (shape, dtype), name
            assert (info[f"_{name}"].shape, info[f"_{name}"].dtype) == ((P,), np.bool_)
        rows = env.visits.rows
        obs, rewards, terminated, truncated, info = env.step(slates(env))
        np.testing.assert_array_equal(np.flatnonzero(info["_clicks"]), rows)
        assert info["_visit"].all()
    assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float32, np.bool_, np.bool_)
    assert {n: (a.shape, a.dtype) for n, a in obs.items()} == {
        "reader": ((P, len(env.reader_names)), np.float32),
        "clock": ((P, 2), np.float32),
        "present": ((P,), np.int8),
    }
    listing = DictInfoToList(env)
    listing.reset(seed=0)
    while len(env.visits) == 0:
        listing.step(slates(env))
    row = int(env.visits.rows[0])
    *_, infos = listing.step(slates(env))
    assert infos[row]["article_id"].shape == (K,)


def test_what_a_reader_model_observes_is_that_of_the_latest_visit() -> None:
    env = site(reader_model=Talkative(READERS.config))
    obs, _ = env.reset(seed=7)
    assert env.reader_names[-1] == "trust"
    shown = np.zeros(P)
    for _ in range(100):
        shown[env.visits.rows] = env.feed.state["trust"][env.visits.rows]
        np.testing.assert_array_equal(obs["reader"][:, -1], shown.astype(np.float32))
        obs, *_ = env.step(slates(env))
    assert np.count_nonzero(shown) > 2


def test_rows_of_absent_readers_are_ignored() -> None:
    env = site()
    plain = ticks(env, seed=1)
    counted = env.feed.invalid_entries
    assert_same(plain, ticks(env, seed=1, background=BACKGROUND))
    assert env.feed.invalid_entries == counted


def test_same_seed_same_rollout_and_another_seed_another() -> None:
    env = site()
    first = ticks(env, seed=1)
    assert_same(first, ticks(site(), seed=1))
    with pytest.raises(AssertionError):
        assert_same(first, ticks(env, seed=2))
    env.reset(seed=1)
    env.reset()
    drawn = env.feed.seed
    env.reset(seed=1)
    env.reset()
    assert env.feed.seed == drawn != 1


def test_returned_arrays_are_the_callers_own() -> None:
    assert_same(ticks(site(), seed=1), ticks(site(), seed=1, spoil=True))


def test_bad_actions_are_refused_by_name_and_bad_entries_show_nothing() -> None:
    env = site()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=rf"actions: got \({P}, {K + 1}\)"):
        env.step(np.zeros((P, K + 1), dtype=np.int64))
    with pytest.raises(ValueError, match=rf"actions: got \({P - 1}, {K}\)"):
        env.step(np.zeros((P - 1, K), dtype=np.int64))
    with pytest.raises(ValueError, match=r"actions: got dtype.'float32'"):
        env.step(np.zeros((P, K), dtype=np.float32))
    assert env.feed.tick == 0, "nothing refused was served"
    while len(env.visits) == 0:
        env.step(slates(env))
    rows = env.visits.rows
    live = int(env.catalogue.article_id[0])
    slate = np.array([-1, live, live, env.catalogue.archive.published, 2**31 - 2])
    _, rewards, _, _, info = env.step(np.tile(slate, (P, 1)))
    assert env.feed.invalid_entries == 4 * len(rows)
    np.testing.assert_array_equal(rewards, info["dwell_minutes"][:, 1])
    strict = site(config=dataclasses.replace(SITE, strict=True))
    strict.reset(seed=0)
    while len(strict.visits) == 0:
        strict.step(slates(strict))
    with pytest.raises(ValueError, match="absent"):
        strict.step(np.full((P, K), -1))


def test_catalogue_and_visits_are_the_feeds_own_views() -> None:
    env = site()
    with pytest.raises(RuntimeError, match="reset"):
        _ = env.feed
    env.reset(seed=0)
    assert env.catalogue is env.feed.catalogue
    for _ in range(3):
        assert env.visits is env.feed.visits
        env.step(slates(env))
    with pytest.raises(ValueError, match="read-only"):
        env.catalogue.article_id[0] = 1


def test_seats_are_reset_together_or_not_at_all() -> None:
    env = site()
    env.reset(seed=0, options={"reset_mask": np.ones(P, dtype=np.bool_)})
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": np.arange(P) == 0})


RENEWED = dataclasses.replace(SITE, newcomers_per_day=0.5)


def test_newcomers_have_rows_of_their_own_behind_the_first_readers() -> None:
    """Absent until they come, and then as the Feed has them, which is driven here by hand."""
    env, feed = site(config=RENEWED), Feed(RENEWED, READERS, 7)
    steps = ticks(env, seed=7)
    assert env.num_envs == P + 14 == steps[0][0]["reader"].shape[0]
    came: set[int] = set()
    ended = np.zeros(env.num_envs, dtype=np.int64)
    for before, after in itertools.pairwise(steps):
        rows = feed.visits.rows
        np.testing.assert_array_equal(np.flatnonzero(before[0]["present"]), rows)
        served = [slate_for(r, v, feed.catalogue.article_id) for r, v in zip(rows, feed.visits.visit, strict=True)]
        outcome = feed.serve(np.array(served, dtype=np.int64).reshape(-1, K))
        np.testing.assert_array_equal(after[1][rows], outcome.reward)
        np.testing.assert_array_equal(np.flatnonzero(after[2]), rows[outcome.left])
        came |= {*rows.tolist()}
        ended += after[2].astype(np.int64) + after[3]
    assert {row for row in came if row >= P} >= {P, P + 1, P + 2}
    assert (ended == 1).all()  # each row ends once, also of who never came
    closed = ticks(site(num_envs=P, config=RENEWED), seed=7)
    for with_them, without in zip(steps, closed, strict=True):
        np.testing.assert_array_equal(with_them[1][:P], without[1])
