"""The agent ``return``: what an opening is worth later is in the score that is searched by, and only where it is found.

Settings of the sites and seeds were fixed before the first run. Shapes: N live articles, A columns of the wide part.
"""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig
from feedgym.env.arrays import Doubles
from helpers.driving import drive, served_bytes
from helpers.inside import learner_of, learning_of

SITE = FeedConfig(num_readers=250, days=3.0, tick_hours=1.0)
NO_DELAY = NewsReader(NewsReaderConfig(delayed_effects=False))


def lived(name: str, seed: int, model: NewsReader | None = None, **settings: Any) -> tuple[Any, Feed, Any]:
    """An agent after three days, its site, and what was served."""
    feed = Feed(SITE, model, seed=seed)
    # Few steps: of the towers nothing is asked here.
    agent = make_agent(name, passes=0.5, **settings).start(feed)
    return agent, feed, drive(agent, feed)


@pytest.fixture(scope="module")
def planned() -> tuple[Any, Feed]:
    agent, feed, _ = lived("return", 30)
    return agent, feed


def worth(agent: Any, feed: Feed) -> tuple[Doubles, Doubles]:
    """Minutes of the live articles once opened, and what the wide part adds for later, (N,) each."""
    model, store, live = agent.model, agent.store, feed.catalogue.article_id
    numeric, categorical = store.features(live)
    z = model.wide.columns(model.normalisations.items(numeric), categorical)
    minutes, later = (
        (weights[0] + z @ weights[1:]).detach().double().numpy()
        for weights in (model.wide.worth_log, model.wide.worth_more)
    )
    return np.exp(minutes), later


def test_weights_of_columns_say_what_the_return_model_does(planned: tuple[Any, Feed]) -> None:
    agent, feed = planned
    planning, store = learner_of(agent)._planning, agent.store
    # As of the latest training: the columns of articles are not measured anew before the next one.
    live = feed.catalogue.article_id
    exact = planning._returns.value(planning._alone(store.numeric[live], store.categorical[live, 1]))
    _, later = worth(agent, feed)
    spread = exact.std()
    assert spread > 0.1  # minutes: there is something to say
    assert np.abs(later - exact).max() < 1e-3 * spread


def test_worth_later_stands_in_the_score_that_is_searched_by(planned: tuple[Any, Feed]) -> None:
    agent, feed = planned
    wide, live = agent.model.wide, feed.catalogue.article_id
    minutes, later = worth(agent, feed)
    numeric, categorical = agent.store.features(live)
    standard = agent.model.normalisations.items(numeric)
    expected = np.log(np.maximum(minutes + later, float(wide.worth_floor)))
    np.testing.assert_allclose(wide.worth(standard, categorical).numpy(), expected, atol=1e-4)
    with_worth = wide.articles(standard, categorical).detach()
    more = wide.worth_more.clone()
    wide.worth_more.zero_()
    without = wide.articles(standard, categorical).detach()
    wide.worth_more.copy_(more)
    np.testing.assert_allclose((with_worth - without).numpy(), expected - np.log(minutes), atol=1e-4)
    assert np.corrcoef(with_worth.numpy(), later)[0, 1] > np.corrcoef(without.numpy(), later)[0, 1]


def test_without_any_effect_it_is_the_regression_byte_for_byte() -> None:
    shared: dict[str, Any] = {"loss": "hurdle", "wide_part": True, "content_channel": True, "sharpness": 8.0}
    _, _, plain = lived("regression-dwell", 31, **shared)
    _, _, nothing = lived("return", 31, **shared, ridge=1e9)
    _, _, planned = lived("return", 31, **shared)
    assert served_bytes(nothing) == served_bytes(plain)
    assert served_bytes(planned) != served_bytes(plain)


def share_of_minutes(seed: int, model: NewsReader | None) -> float:
    """Spread of worth later over the live articles, against their mean minutes."""
    minutes, later = worth(*lived("return", seed, model)[:2])
    return float(later.std() / minutes.mean())


def test_where_nothing_is_delayed_little_is_planned_for() -> None:
    seeds = (32, 33, 34)
    delayed = [share_of_minutes(seed, None) for seed in seeds]
    at_once = [share_of_minutes(seed, NO_DELAY) for seed in seeds]
    assert min(delayed) > 3 * max(at_once)
    assert np.mean(at_once) < 0.15


def test_what_was_found_is_told(planned: tuple[Any, Feed]) -> None:
    agent, _ = planned
    told = agent.metrics()
    names = {name.removeprefix("return/") for name in told if name.startswith("return/")}
    for part in ("beta_clickbait_proxy", "error_clickbait_proxy", "slow_share", "guard", "worth_best", "worth_worst"):
        assert part in names
    assert told["return/worth_best"] > told["return/worth_worst"]
    assert not any(name.startswith("return/") for name in agent.metrics())  # means since the last call


def test_a_site_without_proxies_plans_by_openings_alone() -> None:
    feed = Feed(SITE, None, seed=30)
    agent = make_agent("return", proxies=("nobody_knows",)).start(feed)
    drive(agent, feed, until=36.0)
    planning = learner_of(agent)._planning
    assert planning._returns.names == ("opened", "log_opened")
    assert learning_of(agent).model.wide.worth_more[1:].abs().max() == 0.0


def test_only_openings_can_be_planned_for() -> None:
    with pytest.raises(ValueError, match="loss: got 'poisson', needs 'hurdle'"):
        make_agent("return", loss="poisson")
    with pytest.raises(ValueError, match="wide_part: got False, needs True"):
        make_agent("return", wide_part=False)
