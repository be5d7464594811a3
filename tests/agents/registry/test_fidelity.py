"""Published systems at both sizes: settings are those of their facts, whole by themselves, and models have them."""

import dataclasses
from typing import Any

import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.registry import KINDS, SYSTEMS
from feedgym.agents.registry.published import SIZES, Fact, System
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.experiments.commands.agents import settings_text
from helpers.inside import learner_of

SITE = FeedConfig(num_readers=60, days=1.0, tick_hours=1.0, newsroom=NewsroomConfig(articles_per_day=120))
# What FeedGym's own agents set as they see fit: a published system says each for itself.
OWN = {"age_decay", "sharpness", "wide_part", "content_channel", "learning_rate", "weight_decay", "widths", "dim"}
OWN_OF = {
    "contrastive": {"task", "loss", "propensity_cap", "negatives_live", "batch_clicks", "encoder", "share"},
    "regression": {"target", "loss", "encoder", "share"},
}


def made(name: str, size: str, **more: Any) -> Any:
    return make_agent(name, size=size, **more).start(Feed(SITE, seed=1))


def in_configs(agent: Any, key: str) -> Any:
    groups = (learner_of(agent).config, *vars(agent.config).values())
    return getattr(next(part for part in groups if hasattr(part, key)), key)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_setting_of_the_table_is_what_is_run(name: str, size: str) -> None:
    system: System = SYSTEMS[name]
    agent = made(name, size)
    wanted = system.settings(size)  # type: ignore[arg-type]
    for key, value in wanted.items():
        assert in_configs(agent, key) == value, key
    # And nothing but the table's: all else is as in the dataclasses.
    kind = KINDS[name]
    own = {setting.name: setting.default for setting in kind.table}
    beside = kind.settings_beside({"size": size})
    assert {key for key, value in beside.items() if value != own[key]} <= set(wanted) | {"size"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_is_whole_by_itself(name: str) -> None:
    system = SYSTEMS[name]
    missing = (OWN | OWN_OF[system.learner]) - set(system.settings("published"))
    assert missing == set()
    assert not system.settings("published")["wide_part"]
    assert not system.settings("published")["content_channel"]


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_fact_says_why_where_it_differs(name: str) -> None:
    for fact in SYSTEMS[name].facts:
        assert fact.what
        assert fact.says
        assert fact.here
        if "not stated" in fact.says or "not verified" in fact.says or "not published" in fact.says:
            assert fact.why or fact.here != "the same" or fact.settings, fact.what
    text = " ".join(settings_text(name).split())
    for fact in SYSTEMS[name].facts:
        assert " ".join(fact.here.split()) in text
        assert " ".join(fact.says.split()) in text


# Sizes by hand: of the published towers, layer by layer.
WIDE = [1024, 512, 256]


def hidden(tower: Any) -> list[int]:
    return [layer.out_features for layer in tower.modules() if isinstance(layer, torch.nn.Linear)]


@pytest.mark.parametrize("name", ["youtube-2016", "youtube-rerank", "google-play-mns", "uber-shared"])
def test_wide_towers_are_wide(name: str) -> None:
    dim = 256 if name.startswith("youtube") else 64
    agent = made(name, "published")
    assert hidden(agent.model.user_tower)[:3] == WIDE
    assert hidden(agent.model.item_tower)[:3] == WIDE
    assert agent.model.config.dim == dim
    small = made(name, "small")
    assert hidden(small.model.user_tower)[:3] == [width // 4 for width in WIDE]


def test_tables_of_ids_are_as_many_and_as_large_as_their_uses_ask_for() -> None:
    def tables(agent: Any, rows: int) -> list[tuple[int, ...]]:
        return [tuple(p.shape) for p in agent.model.parameters() if p.shape[:1] == (rows,)]

    # The softmax's output vectors are a table of their own.
    assert tables(made("youtube-2016", "published"), 16384) == [(16384, 256)] * 2
    assert tables(made("uber-shared", "published"), 65536) == [(65536, 64)]
    assert tables(made("sasrec", "published"), 16384) == [(16384, 50)]
    assert tables(made("bert4rec", "published"), 16384) == [(16384, 64)]


@pytest.mark.parametrize(
    ("name", "blocks", "heads", "dim", "inner", "rate"),
    [("sasrec", 2, 1, 50, 50, 0.5), ("bert4rec", 2, 2, 64, 256, 0.2)],
)
def test_transformers_have_the_published_sizes(
    name: str, blocks: int, heads: int, dim: int, inner: int, rate: float
) -> None:
    encoder = made(name, "published").model.history
    assert len(encoder.transformer.blocks) == blocks
    for block in encoder.transformer.blocks:
        assert block.attend.heads == heads
        assert block.feed[0].out_features == inner
        assert block.attend_out.out_features == dim
        assert block.dropout_feed.rate == rate
    # One block by hand: query, key and value, output, two layers, two norms.
    own = 4 * (dim * dim + dim) + (dim * inner + inner) + (inner * dim + dim) + 4 * dim
    assert sum(p.numel() for p in encoder.transformer.blocks[0].parameters()) == own


def test_nrms_has_sixteen_heads_of_sixteen() -> None:
    model = made("nrms", "published").model
    for attend in (model.history.attend, model.item_tower.attend):
        assert attend.heads == 16
        assert attend.query.out_features == 256
    assert hidden(model.user_tower) == [model.user_tower.last.out_features]


def test_a_setting_beside_a_size_is_counted_from_that_size() -> None:
    """dim=16 is small's own, and yet a change of published."""
    assert dict(make_agent("sasrec", size="small", dim=16).settings) == {}
    assert dict(make_agent("sasrec", size="published", dim=16).settings) == {"dim": 16, "size": "published"}
    assert dict(make_agent("sasrec", size="published", dim=50).settings) == {"size": "published"}
    assert made("sasrec", "published", dim=16).model.config.dim == 16
    assert make_agent("sasrec", size="published").label == "sasrec:size=published"
    with pytest.raises(ValueError, match="size: got 'large', needs one of small, published"):
        make_agent("sasrec", size="large")
    with pytest.raises(ValueError, match="size of sasrec: got 3"):
        make_agent("sasrec", size=3)
    with pytest.raises(ValueError, match="setting of contrastive: got 'size'"):
        make_agent("contrastive", size="small")


def test_a_table_says_each_setting_once_and_small_nothing_new() -> None:
    fact = Fact(what="a", says="b", here="c", settings={"dim": 3})
    whole = {"description": "d", "source": "s", "learner": "regression"}
    with pytest.raises(ValueError, match=r"facts: got \['dim'\], needs each setting in one fact"):
        System(**whole, facts=(fact, dataclasses.replace(fact, what="b")), small={})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"small: got \['widths'\], needs settings of some fact"):
        System(**whole, facts=(fact,), small={"widths": (3,)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="variants: got 'size', needs one of"):
        dataclasses.replace(KINDS["contrastive"], variants={"size": {}})
