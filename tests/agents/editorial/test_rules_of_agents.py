"""Agents keep rules that change, at the chances that they state."""

from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.editorial.rules import Rule
from feedgym.agents.editorial.syntax import rules_of
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Ints, rows_of
from feedgym.experiments.measures.some_visits import visits_at
from helpers.chances import p_value, pooled
from helpers.driving import crowd
from helpers.inside import acted_of
from helpers.plain.rules import KINDS, PUBLISHERS, SIZE, TOPICS, Plain, check_slates, plain_eligible, some_rules

# ---- agents through a run whose rules change ----
SITE = FeedConfig(
    num_readers=60,
    days=1.0,
    tick_hours=0.5,
    slate_size=SIZE,
    newsroom=NewsroomConfig(
        articles_per_day=120.0, max_age_hours=6.0, num_topics=TOPICS, num_publishers=PUBLISHERS, num_authors=2
    ),
)

RULES_HOURS = 2.0


LAGS: dict[str, dict[str, float]] = {
    "realtime": {},
    "streaming": {"item_refresh_hours": 1.0, "reader_refresh_hours": 1.0},
    "batch": {"item_refresh_hours": RULES_HOURS, "reader_refresh_hours": RULES_HOURS},
}

RUNS = [(kind, mode) for mode in LAGS for kind in KINDS]


@pytest.mark.parametrize(("kind", "mode"), RUNS)
def test_agents_keep_rules_that_change_and_say_at_which_chance(kind: str, mode: str) -> None:
    """Every two hours other rules, exploration and boost: an agent that goes on from the snapshot of the last."""
    rng, feed = np.random.default_rng(RUNS.index((kind, mode))), Feed(SITE, seed=8)
    agent: Any = None
    slates: list[Ints] = []
    checked = 0
    kinds: dict[int, list[int]] = {}
    while not feed.done:
        catalogue = feed.catalogue
        if feed.now % RULES_HOURS == 0:
            # About articles that are gone, that are live, and that are still to come.
            rules = some_rules(rng, np.maximum(catalogue.archive.published - np.arange(-10, 30), 0))
            agent = going_on(agent, feed, kind, mode, rules, rng)
        served = agent.act(feed.visits, catalogue)
        acted, live = acted_of(agent), catalogue.article_id.tolist()
        published, expires = (catalogue.archive.column(f"{name}_hours") for name in ("published", "expires"))
        age = {a: feed.now - float(published[a]) for a in live}
        kinds |= dict(zip(live, catalogue.categories_of(np.array(live)).tolist(), strict=True))
        if mode != "batch" or feed.now % RULES_HOURS == 0:
            # When it was drawn: of what is live to the clock, by the rules of then.
            assert all(age[a] >= 0 and expires[a] > feed.now for a in live)
            allowed = plain_eligible(rules_of(rules), kinds.__getitem__, age)
        stays = plain_eligible(rules_of(rules), kinds.__getitem__, age)
        drawn_at_once, own = served, np.ones(len(served.article_id), dtype=bool)
        if served.ahead is not None:
            # A list's first page has the chances of a slate: from what is left of the draw, by the rules of now; of one
            # that keeps rules on whole slates, from all of the draw, unless a place is lost that rules now exclude.
            own = (feed.visits.visit == served.ahead.first_visit) & ~np.asarray(served.unweighted)
            if rules_of(rules).reshapes:
                own = (feed.visits.visit == served.ahead.first_visit) & (served.ahead.skipped_excluded == 0)
            else:
                allowed &= stays
            drawn_at_once = rows_of(served, own)
            drawn = served.as_drawn.article_id
            np.testing.assert_array_equal(served.article_id, np.where(np.isin(drawn, list(stays)), drawn, -1))
        assert set(acted.live.tolist()) == allowed
        listed, logits = drawn_at_once.draw.shortlist, drawn_at_once.draw.logits
        check_slates(drawn_at_once, rules_of(rules), kinds.__getitem__, acted.live.tolist(), listed, logits)
        checked += int(own.sum())
        assert set(served.article_id.ravel().tolist()) <= {-1, *stays}
        slates.append(served.article_id)
        agent.learn(feed.serve(served.article_id))
    every = np.concatenate(slates)
    assert feed.invalid_entries == np.count_nonzero(every < 0) < 0.7 * every.size
    assert agent.policy_version >= 4
    assert len(every) > 80
    assert checked > 0.4 * len(every)


def going_on(agent: Any, feed: Feed, kind: str, mode: str, rules: tuple[Rule, ...], rng: np.random.Generator) -> Any:
    """The agent with other settings of its policy."""
    changed = make_agent(
        "regression",
        index=kind,
        serving=mode,
        train_every_hours=RULES_HOURS,
        max_steps=2,
        rules=rules,
        epsilon=float(rng.choice([0.0, 0.3])),
        new_boost=float(rng.choice([0.0, 1.0])),
        greedy=bool(rng.random() < 0.2),
        shortlist_size=12,
        **LAGS[mode],
    ).start(feed)
    if agent is not None:
        changed.restore(agent.snapshot())
    return changed


# ---- the joint chance of an agent's slates ----
SMALL = FeedConfig(
    num_readers=60,
    days=2.0,
    tick_hours=0.5,
    slate_size=3,
    newsroom=NewsroomConfig(articles_per_day=40.0, max_age_hours=6.0, num_topics=3, num_publishers=3),
)


JOINT = (
    "cap(topic,1)+pin(topic=1,2)",
    "exclude(age_hours>5)+cap(publisher,2)+share(topic=0,0.6)",
    "exclude(topic=2)+pin(publisher=1,0)+share(topic=1,0.3)",
)


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
@pytest.mark.parametrize("rules", JOINT)
def test_an_agents_slates_follow_the_joint_chance_that_its_scores_state(rules: str, epsilon: float) -> None:
    """Logits anew from what its towers say: z-scores over the live catalogue, temperature, boost, shortlist, rules."""
    feed, config = Feed(SMALL, seed=JOINT.index(rules)), {"rules": rules, "epsilon": epsilon, "shortlist_size": 6}
    config |= {"new_boost": 0.7, "new_hours": 2.0, "temperature": 1.6, "sharpness": 2.0}
    agent: Any = make_agent("regression", train_every_hours=4.0, max_steps=20, **config).start(feed)
    while feed.now < 15.0 or len(feed.visits) == 0:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    visits, catalogue = crowd(feed.visits, 8000), feed.catalogue
    served = agent.act(visits, catalogue)
    score = agent.score_all(visits_at(visits, np.zeros(1, dtype=np.int64)), catalogue)[0]

    ids, age = catalogue.article_id.tolist(), catalogue.age_hours.tolist()
    kinds = dict(zip(ids, catalogue.categories_of(catalogue.article_id).tolist(), strict=True))
    live = plain_eligible(rules_of(rules), kinds.__getitem__, dict(zip(ids, age, strict=True)))
    assert 6 < len(live) < 20

    def joint(temperature: float, boost: float) -> dict[tuple[int, ...], float]:
        logit = 2.0 / temperature * (score - score.mean()) / score.std()
        best = sorted(live, key=lambda a: -logit[ids.index(a)])[:6]
        logits = {a: float(logit[ids.index(a)]) + boost * (age[ids.index(a)] < 2.0) for a in best}
        plain = Plain(rules_of(rules), kinds.__getitem__, sorted(live), logits, epsilon, size=3)
        return dict(plain.slates([], 1.0))

    stated = joint(1.6, 0.7)
    chance = [stated[tuple(slate)] for slate in served.article_id.tolist()]
    np.testing.assert_allclose(np.exp(served.log_propensity), chance, rtol=1e-3)  # towers are float32
    assert len(pooled(served.article_id, stated)[0]) > 5
    assert p_value(served.article_id, stated) > 1e-4
    assert p_value(served.article_id, joint(1.0, 0.7)) < 1e-6
    assert p_value(served.article_id, joint(1.6, 0.0)) < 1e-6
