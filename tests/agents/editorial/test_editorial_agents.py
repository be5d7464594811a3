"""Rules at work: every agent that draws by ``serve`` keeps them through a run, and the log says what it may."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.agent import Site
from feedgym.agents.baselines.popularity import BaselineAgent
from feedgym.agents.editorial.rules import CapPerCategory, Exclude, MinimumShare
from feedgym.agents.slate_policy.policy import PolicyConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.log.reader import LogReader
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.runner import run
from helpers.driving import drive
from helpers.resuming import check_resuming

SITE = FeedConfig(
    num_readers=30, days=0.75, tick_hours=0.5, slate_size=5, newsroom=NewsroomConfig(articles_per_day=150)
)
AGENTS = ("recent", "popular", "regression", "regression-click:index=ivf", "contrastive:propensity_cap=None", "ltv")
RULES = "exclude(topic=3)+exclude(age_hours>12)+cap(topic,2)+pin(topic=1,0)+share(topic=2,0.3)"


def plan_of(name: str, rules: str, **more: Any) -> Any:
    learned = name.startswith(("regression", "contrastive", "reinforce", "ltv"))
    kind = parse_agent(name)
    return make_agent(kind.name, **dict(kind.settings), rules=rules, **({"max_steps": 4} if learned else {}), **more)


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("name", AGENTS)
def test_rules_hold_through_a_run(name: str, greedy: bool) -> None:
    feed = Feed(SITE, seed=2)
    agent = plan_of(name, RULES, greedy=greedy).start(feed)
    shown = 0
    while not feed.done:
        catalogue = feed.catalogue
        served = agent.act(feed.visits, catalogue)
        ids, live = served.article_id, catalogue.article_id
        assert np.isin(ids[ids >= 0], live).all()
        topic = np.where(ids >= 0, catalogue.archive.column("topic")[np.maximum(ids, 0)], -1)
        assert not (topic == 3).any()
        assert (feed.now - catalogue.published_hours_of(ids[ids >= 0]) <= 12).all()
        for c in range(catalogue.category_sizes[0]):
            assert ((topic == c).sum(axis=1) <= 2).all()
        assert np.isin(topic[:, 0], [1, -1]).all()
        assert ((topic == 2).sum(axis=1) + (topic == -1).sum(axis=1) >= 2).all()
        assert served.num_live < len(live)
        assert (served.slot_propensity <= 1).all()
        shown += int((ids >= 0).sum())
        agent.learn(feed.serve(ids))
    assert shown > 100


def test_random_without_rules_is_as_it_was_and_takes_no_other_setting() -> None:
    one, two = Feed(SITE, seed=4), Feed(SITE, seed=4)
    site = Site(
        slate_size=5, history_length=1, num_numeric=1, category_sizes=(1, 1, 1), num_reader_features=0, seed=two.seed
    )
    runs = [drive(make_agent("random").start(one), one)]
    runs.append(drive(BaselineAgent(site, PolicyConfig(epsilon=1.0), None), two))
    assert sum(len(served.article_id) for served, _ in runs[0]) > 20
    for (served, _), (before, _) in zip(*runs, strict=True):
        assert served.article_id.tobytes() == before.article_id.tobytes()
        assert served.slot_propensity.tobytes() == before.slot_propensity.tobytes()
    with pytest.raises(ValueError, match="setting of random: got 'greedy', needs one of rules"):
        make_agent("random", greedy=True)
    with pytest.raises(ValueError, match="rules: got 'drop"):
        make_agent("random", rules="drop(topic=1)").start(one)


def test_random_under_rules_is_uniform_over_what_they_allow() -> None:
    feed = Feed(SITE, seed=4)
    agent = make_agent("random", rules="exclude(topic=3)+cap(topic,1)+pin(topic=1,2)").start(feed)
    checked = 0
    while not feed.done:
        ids = feed.catalogue.article_id.tolist()
        topic = dict(zip(ids, feed.catalogue.categories_of(feed.catalogue.article_id)[:, 0].tolist(), strict=True))
        served = agent.act(feed.visits, feed.catalogue)
        for slate, propensity in zip(served.article_id.tolist(), served.slot_propensity, strict=True):
            for k, article in enumerate(slate):
                above = {topic[a] for a in slate[:k]}
                # Topic 1 is kept for position 2; the one of its cap is promised to it.
                allowed = [a for a in ids if topic[a] not in above | {3} and (topic[a] == 1) == (k == 2)]
                assert article in allowed
                assert propensity[k] == pytest.approx(1 / len(allowed), rel=1e-12)
                checked += 1
        agent.learn(feed.serve(served.article_id))
    assert checked > 100


def test_an_agent_under_rules_resumes_byte_for_byte() -> None:
    plan = plan_of("regression", RULES, new_boost=1.0)

    def start() -> tuple[Any, Feed]:
        feed = Feed(SITE, seed=3)
        return plan.start(feed), feed

    rest = check_resuming(start, at=9.0).rest
    assert sum(len(s.article_id) for s, _ in rest) > 10


def test_a_search_is_as_wide_as_what_is_excluded_asks_for() -> None:
    # Without exploration all that is shown comes from the shortlist: it is as long as without the rule.
    feed = Feed(SITE, seed=2)
    agent = plan_of("regression", "exclude(topic=0)", shortlist_size=8, epsilon=0.0).start(feed)
    sizes = [served.shortlist_size for served, _ in drive(agent, feed)]
    assert set(np.concatenate(sizes).tolist()) == {8}


def test_policy_gradients_refuse_what_leaves_inclusion_unknown() -> None:
    feed = Feed(SITE, seed=2)
    with pytest.raises(ValueError, match=r"rules: got 'cap\(topic,2\)', needs exclude only"):
        plan_of("reinforce", "cap(topic,2)").start(feed)
    run = drive(plan_of("reinforce", "exclude(topic=3)").start(feed), feed)
    assert run[-1][0].policy_version >= 2


def test_rules_are_settings_from_the_command_line_and_from_python() -> None:
    plan = parse_agent("popular:rules=exclude(topic=3)+cap(topic,2)+exclude(age_hours>24),epsilon=0.2")
    assert dict(plan.settings) == {"rules": "exclude(topic=3)+cap(topic,2)+exclude(age_hours>24)", "epsilon": 0.2}
    objects = (Exclude(column="topic", category=3), CapPerCategory("topic", 2), MinimumShare("author", 1, 0.2))
    plan = make_agent("popular", rules=objects)
    again = parse_agent(plan.label)
    feed = Feed(SITE, seed=1)
    one: Any = plan.start(feed)
    two: Any = again.start(feed)
    assert one._policy.editorial == two._policy.editorial
    assert one._policy.editorial.shares == objects[2:]


@pytest.mark.parametrize(("rules", "known"), [("exclude(topic=3)", True), ("cap(topic,1)", False)])
def test_the_log_keeps_what_is_exact(rules: str, known: bool, tmp_path: Path) -> None:
    run(RunConfig(agent=f"popular:rules={rules}", readers=20, days=0.5, log_marginals=True), tmp_path / "run")
    found = list(LogReader(tmp_path / "run").visits())
    shown = np.concatenate([c["article_id"] for c in found]) >= 0
    for name in ("slot_marginal", "inclusion"):
        values = np.concatenate([c[name] for c in found])
        assert np.isfinite(values[shown]).all() if known else np.isnan(values[shown]).all()
    assert np.isfinite(np.concatenate([c["slot_propensity"] for c in found])).all()
