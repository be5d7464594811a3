"""Names, settings and labels of agents."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feedgym.agents import AGENTS, make_agent, parse_agent
from feedgym.agents.learners.settings import RegressionConfig
from feedgym.agents.two_tower.settings import OptimiserConfig, TwoTowerAgentConfig
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.towers import TowersConfig
from helpers.inside import learner_of

SITE = FeedConfig(num_readers=5, days=0.5, newsroom=NewsroomConfig(articles_per_day=20))


@pytest.mark.parametrize("name", AGENTS)
def test_every_name_builds_and_is_described(name: str) -> None:
    assert AGENTS[name]
    plan = make_agent(name)
    assert plan.label == name
    assert plan == parse_agent(name)
    agent = plan.start(Feed(SITE))
    assert agent.is_oracle == plan.is_oracle == name.startswith(("oracle", "one-list"))
    assert agent.metrics() == {}


def test_parsing() -> None:
    plan = parse_agent("regression:target=click,widths=(64,32),examination=None, epsilon=0.1")
    # What equals the default is no change.
    assert plan.settings == (("epsilon", 0.1), ("target", "click"), ("widths", (64, 32)))
    assert plan == make_agent("regression", epsilon=0.1, widths=(64, 32), target="click")
    assert plan.label == "regression:epsilon=0.1,target=click,widths=(64, 32)"
    assert parse_agent(" popular : half_life_hours = 3 ") == make_agent("popular", half_life_hours=3)
    assert parse_agent("contrastive:") == make_agent("contrastive")
    assert hash(plan) == hash(parse_agent(plan.label))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("random", {}),
        ("recent", {"scale_hours": 2.5, "greedy": True}),
        ("popular", {"prior_impressions": 10, "temperature": 1e-3}),
        ("regression-click", {"widths": (1024, 512, 256), "examination": 0.85, "age_decay": "none"}),
        ("regression", {"widths": (), "weight_decay": 0.0}),
        ("contrastive-uniform", {"propensity_cap": 20.0, "dwell_weight": True, "negatives": "in_batch"}),
        ("oracle-planning", {"quality_bonus": -1.5}),
    ],
)
def test_labels_round_trip(name: str, settings: dict[str, Any]) -> None:
    plan = make_agent(name, **settings)
    assert dict(plan.settings) == settings
    assert parse_agent(plan.label) == plan


def test_settings_reach_the_agent() -> None:
    feed = Feed(SITE)
    agent: Any = parse_agent("regression:target=click,widths=(8,4),epsilon=.5,dim=3,replay_visits=7").start(feed)
    assert agent.config == TwoTowerAgentConfig(
        policy=dataclasses.replace(agent.config.policy, epsilon=0.5),
        towers=TowersConfig(widths=(8, 4), dim=3, wide_part=True, content_channel=True),
        optimiser=OptimiserConfig(replay_visits=7),
    )
    assert agent.config.policy.sharpness == 8.0  # this name's own default, not PolicyConfig's
    assert learner_of(agent).config == RegressionConfig(target="click")
    dwell: Any = make_agent("regression-dwell").start(feed)
    plain: Any = make_agent("regression").start(feed)
    assert dwell.config == plain.config
    assert (learner_of(dwell).config.loss, learner_of(plain).config.loss) == ("hurdle", "pointwise")
    uniform: Any = make_agent("contrastive-uniform").start(feed)
    assert (learner_of(uniform).config.negatives, learner_of(uniform).config.num_negatives) == ("mixed", 256)
    assert uniform.config.towers.age_decay == "linear"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regresion", r"agent: got 'regresion', needs one of random, recent, popular, .*regression, .*oracle-planning"),
        ("recent:scale=3", r"setting of recent: got 'scale', needs one of scale_hours, shortlist_size, .*greedy"),
        ("random:epsilon=.5", r"setting of random: got 'epsilon', needs one of rules"),
        ("regression:target", r"agent 'regression:target': got 'target', needs setting=value"),
        ("regression:widths=64", r"widths of regression: got 64, needs a value like \(\d+,\)"),
        ("regression:passes=many", r"passes of regression: got 'many', needs a value like \d+\.\d"),
        ("regression:dim=2.5", r"dim of regression: got 2\.5, needs a value like \d+"),
        ("regression:policy=1", r"setting of regression: got 'policy'"),
    ],
)
def test_mistakes_are_named_with_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regression:target=subscriptions", "target: got 'subscriptions', needs click, dwell, subscription, next"),
        ("regression:target=click+0*dwell", "target: got 'click.0.dwell', needs weights > 0"),
        ("regression:target=click+click", "each task once"),
        ("regression-click:loss=ips", "examination: got None, needs a chance"),
        ("regression:loss=slate_bpr,examination=.5", "examination: got 0.5, needs None"),
        ("regression:negative_keep_rate=.5", "negative_keep_rate: got 0.5"),
        ("regression:encoder=lstm", "encoder: got 'lstm', needs one of mean, attention, nrms, gru, sasrec, bert4rec"),
        ("regression:prediction=euclid", "prediction: got 'euclid', needs one of dot, cosine"),
        ("regression:share=all", "share: got 'all'"),
        ("regression:history_gradient=True,share=none", "history_gradient: got True"),
        (
            "reinforce:prediction=logistic",
            "prediction: got 'logistic', needs 'dot' or 'cosine': this agent has one stage",
        ),
        ("ltv:prediction=mlp", "this agent has one stage"),
        ("contrastive:loss=hinge", "loss: got 'hinge', needs one of softmax"),
        ("contrastive:loss=ccl", "prediction: got 'dot', needs 'cosine' with loss=ccl"),
        ("regression:age_in_item_tower=True,history_gradient=True", "history_gradient: got True, needs False"),
        ("contrastive:loss=gbce", "negatives: got 'in_batch', needs uniform with loss=gbce"),
        ("contrastive:negatives=impressed", "loss_name: got 'softmax'"),
        ("contrastive:negatives=all", "negatives: got 'all', needs one of in_batch"),
        ("regression:examination=1.5", "examination: got 1.5"),
        ("regression:age_decay=cubic", "age_decay: got 'cubic'"),
        ("regression:index=magic", "kind: got 'magic', needs one of exact"),
        ("recent:temperature=0", "temperature: got 0"),
        ("contrastive:batch_clicks=1", "batch_clicks: got 1, needs >= 2"),
        ("contrastive:propensity_cap=.5", "propensity_cap: got 0.5"),
    ],
)
def test_bad_values_are_refused_where_they_are_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(text)


def test_importing_the_agents_loads_no_torch() -> None:
    code = (
        "import sys, feedgym.agents as a; a.parse_agent('regression-click').label; a.parse_agent('recent:epsilon=.5'); "
        "print([m for m in ('torch', 'faiss') if m in sys.modules])"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"


def test_an_agent_of_ones_own_is_named_by_its_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_agents.py").write_text(
        "from feedgym.agents.baselines.popularity import random_agent\n"
        "from feedgym.agents import AgentKind\n"
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Shift:\n"
        "    shift: float = 1.0\n"
        "MINE = AgentKind(description='mine', configs=(Shift,), build=lambda site, feed, c: random_agent(site))\n"
        "OTHER = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_agents", raising=False)  # of another test
    plan = parse_agent("my_agents.MINE:shift=2.0")
    assert plan.label == "my_agents.MINE:shift=2.0"
    assert not plan.is_oracle
    assert not plan.learns
    feed = Feed(FeedConfig(num_readers=20, days=1.0), seed=1)
    assert plan.start(feed).act(feed.visits, feed.catalogue).epsilon == 1.0
    for name, message in (
        ("my_agents.OTHER", "AgentKind"),
        ("my_agents.NONE", "AgentKind"),
        ("no_such_module.MINE", "importable"),
        ("my_agents.MINE:slope=2", "slope"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_agent(name)
