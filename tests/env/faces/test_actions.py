"""The single face's actions and observations: slates of choices, items, masks, orders, dictionaries."""

import dataclasses
import itertools
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from feedgym.env import Feed, FeedConfig, NewsFeedEnv, NewsFeedVectorEnv, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.faces.actions import ACTIONS, ORDERS, most_clicked_first, newest_first, slate_below
from feedgym.env.faces.news_feed_env import OBSERVATIONS
from feedgym.env.faces.registration import ENV_ID

K, C = 4, 6
SITE = FeedConfig(newcomers_per_day=0.0, days=5.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=120.0))
FEW = FeedConfig(days=5.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=3.0))
"""At times fewer than C articles are live."""
NOTHING = FeedConfig(days=5.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=0.0))
# Eager readers: their clicks make the order by clicks another one than the newest.
EAGER = NewsReader(NewsReaderConfig(base_log_odds=1.0, gap_median_hours=3.0, late_enrolment=False, leaving=False))
CERTAIN = NewsReader(NewsReaderConfig(base_log_odds=40.0, late_enrolment=False, leaving=False, position_bias=False))


def site(action: str, obs: str = "flat", order: str = "newest", **settings: Any) -> NewsFeedEnv:
    chosen: dict[str, Any] = {"config": SITE, "reader_model": EAGER, "num_candidates": C} | settings
    env = NewsFeedEnv(action=action, obs=obs, order=order, **chosen)
    env.action_space.seed(0)
    return env


def plain_order(env: NewsFeedEnv, order: str) -> list[int]:
    """All live articles in their order, one comparison after the other."""
    live = env.catalogue.article_id
    clicks = dict(zip(live.tolist(), env.catalogue.clicks_of(live).tolist(), strict=True))
    return sorted(live.tolist(), key=(lambda a: -a) if order == "newest" else (lambda a: (-clicks[a], -a)))


def plain_slate(env: NewsFeedEnv, order: str, action: Any) -> list[int]:
    ranked = plain_order(env, order)
    padded = (ranked[:C] + [-1] * C)[:C]
    if isinstance(env.action_space, spaces.MultiDiscrete):
        return [padded[i] for i in action]
    top = padded[int(action)]
    return ([top, *(a for a in ranked if a != top)] + [-1] * K)[:K]


@pytest.mark.parametrize(("action", "obs", "order"), [*itertools.product(ACTIONS, OBSERVATIONS, ORDERS)])
def test_gymnasium_checker_is_silent_for_every_combination(action: str, obs: str, order: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gymnasium.make(ENV_ID, action=action, obs=obs, order=order, config=SITE, reader_model=EAGER)
        check_env(made.unwrapped)
        made.action_space.seed(1)
        observation, _ = made.reset(seed=1)
        for _ in range(5):
            assert observation in made.observation_space
            observation, *_ = made.step(made.action_space.sample())


def test_spaces_are_those_that_stock_agents_know() -> None:
    assert site("query").action_space == spaces.Box(-1.0, 1.0, (34,), np.float32)
    assert site("slate").action_space == spaces.MultiDiscrete([C] * K)
    assert site("item").action_space == spaces.Discrete(C)
    space = site("item", "dict").observation_space
    assert isinstance(space, spaces.Dict)
    assert {name: box.shape for name, box in space.items()} == {
        "reader": (36,),
        "clock": (2,),
        "candidates": (34 * C,),
        "mask": (C,),
    }
    for box in space.values():
        assert isinstance(box, spaces.Box)
        assert box.dtype == np.float32
        assert box.is_bounded()


@pytest.mark.parametrize("config", [SITE, FEW])
@pytest.mark.parametrize(("action", "order"), [*itertools.product(("slate", "item"), ORDERS)])
def test_face_equals_feed_driven_by_hand(action: str, order: str, config: FeedConfig) -> None:
    site_of_one = dataclasses.replace(config, num_readers=1, first_reader_id=3, newcomers_per_day=0.0)
    feed = Feed(site_of_one, EAGER, 2)
    env = site(action, order=order, config=config, reader_id=3)
    env.reset(seed=2)
    steps, empty, unlike_newest = 0, 0, 0
    while not feed.done:
        if len(feed.visits) == 0:
            feed.serve(np.zeros((0, K), dtype=np.int64))
            continue
        choice = env.action_space.sample()
        slate = plain_slate(env, order, choice)
        unlike_newest += plain_order(env, order)[:C] != plain_order(env, "newest")[:C]
        outcome = feed.serve(np.array([slate]))
        _, reward, _, _, info = env.step(choice)
        steps += 1
        empty += slate.count(-1)
        assert reward == outcome.reward[0]
        np.testing.assert_array_equal(info["article_id"], slate)
        np.testing.assert_array_equal(info["clicks"], outcome.clicks[0])
        np.testing.assert_array_equal(info["dwell_minutes"], outcome.dwell_minutes[0])
    assert steps > 10
    assert (empty > 0) == (config is FEW), "masked candidates were chosen"
    assert (unlike_newest > 0) == (order == "most_clicked")
    one, other = feed.snapshot(), env.feed.snapshot()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.mark.parametrize("action", ["slate", "item"])
def test_the_single_face_equals_the_vector_face_with_one_reader(action: str) -> None:
    env = site(action, "dict")
    vector = NewsFeedVectorEnv(1, config=SITE, reader_model=EAGER)
    observation, _ = env.reset(seed=5)
    many, _ = vector.reset(seed=5)
    steps, ended = 0, False
    while not ended:
        while not many["present"][0]:
            many, *_ = vector.step(np.full((1, K), -1))
        assert isinstance(observation, dict)
        np.testing.assert_array_equal(observation["reader"], many["reader"][0])
        np.testing.assert_array_equal(observation["clock"], many["clock"][0])
        choice = env.action_space.sample()
        slate = env.slate_of(choice)
        observation, reward, terminated, truncated, _ = env.step(choice)
        many, rewards, *_ = vector.step(slate[None])
        assert reward == rewards[0]
        steps, ended = steps + 1, terminated or truncated
    assert steps > 10


@pytest.mark.parametrize(("action", "order"), [*itertools.product(ACTIONS, ORDERS)])
def test_a_dictionary_holds_the_flat_columns_and_its_arrays_are_fresh(action: str, order: str) -> None:
    flat, parts = site(action, "flat", order, config=FEW), site(action, "dict", order, config=FEW)
    one, _ = flat.reset(seed=1)
    other, _ = parts.reset(seed=1)
    for _ in range(12):
        assert isinstance(other, dict)
        assert list(other) == ["reader", "clock", "candidates", "mask"]
        np.testing.assert_array_equal(np.concatenate([*other.values()]), one)
        assert len(one) == len(flat.observation_names) == len(parts.observation_names)
        for array in other.values():
            array.fill(1.0)  # must not show in what follows
        assert isinstance(one, np.ndarray)
        one.fill(1.0)
        choice = flat.action_space.sample()
        one, reward, *_ = flat.step(choice)
        other, same_reward, *_ = parts.step(choice)
        assert reward == same_reward


@pytest.mark.parametrize("order", ORDERS)
def test_candidates_shown_are_the_candidates_that_actions_mean(order: str) -> None:
    env = site("item", "dict", order)
    observation, _ = env.reset(seed=0)
    differ = 0
    for _ in range(15):
        ranked = plain_order(env, order)[:C]
        np.testing.assert_array_equal(env.candidates, ranked)
        assert isinstance(observation, dict)
        shown = observation["candidates"].reshape(C, -1)
        freshness = shown[:, env.article_names.index("freshness")]
        age = env.feed.now - env.catalogue.published_hours_of(np.array(ranked))
        np.testing.assert_allclose(freshness, np.exp(-age / 6.0), atol=1e-6)
        differ += ranked != sorted(ranked, reverse=True)
        choice = int(env.action_space.sample())
        observation, _, _, _, info = env.step(choice)
        assert info["article_id"][0] == ranked[choice]
    assert (differ > 0) == (order == "most_clicked")


def test_masks_tell_which_choices_show_an_article() -> None:
    item, slate = site("item", "dict", config=FEW), site("slate", "dict", config=FEW)
    observation, _ = item.reset(seed=4)
    slate.reset(seed=4)
    masked = 0
    for _ in range(20):
        assert isinstance(observation, dict)
        live = len(item.catalogue.article_id)
        mask = item.action_masks()
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, np.arange(C) < live)
        np.testing.assert_array_equal(mask, observation["mask"] == 1.0)
        np.testing.assert_array_equal(mask, item.candidates >= 0)
        assert slate.action_masks().shape == (K * C,)
        np.testing.assert_array_equal(slate.action_masks().reshape(K, C), np.tile(mask, (K, 1)))
        masked += not mask.all()
        # The newest on top, for both the same slate and so the same future.
        item_slate = item.slate_of(0)
        observation, *_ = item.step(0)
        slate.step_slate(item_slate)
    assert masked > 0


def test_masks_of_a_wrapped_env_are_found_where_sb3_contrib_looks() -> None:
    env = gymnasium.make(ENV_ID, action="item", config=SITE)
    env.reset(seed=0)
    assert env.get_wrapper_attr("action_masks")().shape == (16,)


def test_a_query_has_no_masks_and_says_so() -> None:
    env = site("query")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action_masks: got 'query', needs action='slate' or 'item'"):
        env.action_masks()


def test_a_masked_choice_shows_nothing_and_is_counted() -> None:
    env = site("slate", config=NOTHING)
    env.reset(seed=0)
    assert not env.action_masks().any()
    _, reward, _, _, info = env.step(np.arange(K))
    assert reward == 0.0
    assert (info["article_id"] == -1).all()
    assert env.feed.invalid_entries == K
    item = site("item", config=NOTHING)
    item.reset(seed=0)
    _, reward, *_ = item.step(C - 1)
    assert (reward, item.feed.invalid_entries) == (0.0, K)


def test_a_masked_item_leaves_the_top_empty_and_the_order_below() -> None:
    env = site("item", config=FEW, reader_model=CERTAIN, num_candidates=500)
    env.reset(seed=0)
    _, _, _, _, info = env.step(499)
    np.testing.assert_array_equal(info["article_id"][1:] >= 0, True)
    np.testing.assert_array_equal(info["clicks"], info["article_id"] >= 0)
    assert (info["article_id"][0], env.feed.invalid_entries) == (-1, 1)


def test_a_candidate_chosen_twice_shows_once() -> None:
    env = site("slate", reader_model=CERTAIN)
    env.reset(seed=0)
    _, _, _, _, info = env.step(np.array([2, 2, 0, 2]))
    np.testing.assert_array_equal(info["clicks"], [True, False, True, False])
    assert env.feed.invalid_entries == 2


@pytest.mark.parametrize("choice", [0, C - 1])
def test_an_item_never_shows_twice_and_the_slate_is_full(choice: int) -> None:
    env = site("item", num_candidates=C)
    env.reset(seed=0)
    ranked = plain_order(env, "newest")
    expected = [ranked[choice], *(a for a in ranked if a != ranked[choice])][:K]
    np.testing.assert_array_equal(env.slate_of(choice), expected)
    narrow = site("item", num_candidates=1)
    narrow.reset(seed=0)
    np.testing.assert_array_equal(narrow.slate_of(0), ranked[:K])


def test_one_position_shows_the_item_alone() -> None:
    np.testing.assert_array_equal(slate_below(7, np.array([9, 8, 7]), 1), [7])
    np.testing.assert_array_equal(slate_below(7, np.array([7, 3]), 4), [7, 3, -1, -1])


def test_orders_equal_the_plain_versions_with_ties_and_few_articles() -> None:
    env = site("query")
    env.reset(seed=3)
    for _ in range(10):
        env.step(env.action_space.sample())
    live = len(env.catalogue.article_id)
    assert env.catalogue.clicks_of(env.catalogue.article_id).max() >= 1
    for count in (1, C, live, live + 5):
        assert newest_first(env.catalogue, count).tolist() == plain_order(env, "newest")[:count]
        assert most_clicked_first(env.catalogue, count).tolist() == plain_order(env, "most_clicked")[:count]


@pytest.mark.parametrize(
    ("action", "choice", "message"),
    [
        ("item", C, rf"action: got {C}, needs numbers of candidates, 0 to {C - 1}"),
        ("item", -1, "action: got -1"),
        ("item", 1.0, "action: got dtype.'float64'"),
        ("item", np.array([1]), r"action: got \(1,\), needs \(\)"),
        ("slate", np.array([0, 1, 2, C]), rf"action: got \[0, 1, 2, {C}\]"),
        ("slate", np.zeros(K), "action: got dtype.'float64'"),
        ("slate", np.zeros(K + 1, dtype=np.int64), rf"action: got \({K + 1},\), needs \({K},\)"),
    ],
)
def test_choices_outside_the_space_are_refused_and_not_served(action: str, choice: Any, message: str) -> None:
    env = site(action)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(choice)
    _, _, _, _, info = env.step(env.action_space.sample())
    assert info["visit"] == 1


def test_settings_that_are_not_known_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"action: got 'ids', needs one of \('query', 'slate', 'item'\)"):
        site("ids")
    with pytest.raises(ValueError, match=r"obs: got 'graph', needs one of \('flat', 'dict'\)"):
        site("item", "graph")
    with pytest.raises(ValueError, match=r"order: got 'oldest', needs one of \('newest', 'most_clicked'\)"):
        site("item", order="oldest")


def test_masks_and_candidates_need_a_reset_first() -> None:
    with pytest.raises(RuntimeError, match="reset"):
        site("item").action_masks()
