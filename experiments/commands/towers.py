"""``feedgym towers AGENT``: the model that an agent trains, part by part, and what a large table of ids costs in it.

Nothing is trained, and no large table is made. Counted is what the towers hold: a learner's own additions, such as
REINFORCE's correction, are not.
"""

import math
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from feedgym.agents.registry import AgentPlan, kind_named, make_agent, parse_agent
from feedgym.env.checks import require
from feedgym.env.feed import Feed
from feedgym.experiments.runs import RunConfig

if TYPE_CHECKING:
    from torch import nn

    from feedgym.towers import Towers

UBER = (
    "share=none: a table for each use of an id. Authors have five uses: the item tower's, the one for the vector of a "
    "click, and one each for whom the reader clicked, read, and clicked last. Articles have two, and five with "
    "article_bags; readers have one. Shared, the uses of one kind are one table; with one_table all kinds are. So the "
    "factor tends to the number of uses; it falls short where the layers outweigh the tables. Uber (2023) shares one "
    "layer among all its features of ids; by how much that shrank its model was not verified."
)


@dataclass(frozen=True, kw_only=True)
class TowersCommandConfig:
    """Which model to look at."""

    agent: Annotated[str, tyro.conf.Positional]
    """An agent with towers, maybe with settings: ``uber-shared:author_dim=16``; or ``my_module.NAME``."""
    ids: int | None = None
    """Ids of a feature of high cardinality, such as 1000000: what the table costs, for each way to share. The agent's
    own ``author_buckets`` if not given."""
    world: str = "vivid"
    """Preset of the site: it says how many columns and categories there are."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.ids is None or self.ids >= 1, "ids", self.ids, ">= 1")

    def plan(self) -> AgentPlan:
        """The agent."""
        return parse_agent(self.agent)

    def feed(self) -> Feed:
        """A site of one reader."""
        site = RunConfig(agent=self.agent, readers=1, world=self.world)
        return Feed(site.feed_config(), reader_model=site.make_reader_model())


@dataclass(frozen=True)
class IdCost:
    """What a feature of ids costs under one way to share."""

    share: str
    tables: int
    """Tables with a row for each id."""
    id_parameters: int
    """Numbers in those tables."""
    total: int
    """Numbers in the whole model."""


def model_of(plan: AgentPlan, feed: Feed) -> "Towers":
    """The agent's model, as drawn.

    Raises:
        ValueError: it has no towers.
    """
    from feedgym.agents.two_tower import TwoTowerAgent

    agent = plan.start(feed)
    if not isinstance(agent, TwoTowerAgent):
        raise ValueError(
            f"agent: got {plan.label!r}, needs an agent with towers, such as regression-click: see feedgym agents"
        )
    return agent.model


def id_costs(plan: AgentPlan, feed: Feed, num_ids: int) -> list[IdCost]:
    """What the agent's features of hashed ids cost under each way to share.

    Every id adds the same number of parameters, so two models that differ by one id tell the size of any other.

    Args:
        plan: an agent with the settings ``share`` and ``author_buckets``. Of kinds of ids that it has, each gets
            ``num_ids``; if it has none, authors do.
        feed: the site.
        num_ids: rows of each table, >= 1.

    Raises:
        ValueError: the agent lacks one of these settings, or has no towers.
    """
    from feedgym.towers.config import Share

    settings = settings_of(plan)
    require("author_dim" in settings, "agent", plan.label, "with ids: an agent with the setting author_dim")
    ways: list[tuple[str, dict[str, Any]]] = [
        (share, {"share": share, "one_table": False}) for share in get_args(Share)
    ]
    if settings["one_table"]:
        ways.append(("one table", {}))
    costs = []
    for name, way in ways:
        # A number that no other table of the model has for its rows.
        few, more = (_parameters(plan, feed, way, rows) for rows in (_FEW, _FEW + 1))
        tables = sum(len(shape) == 2 and shape[0] == _FEW for shape in few)
        size, per_id = sum(map(math.prod, few)), sum(map(math.prod, more)) - sum(map(math.prod, few))
        costs.append(IdCost(name, tables, per_id * num_ids, size + per_id * (num_ids - _FEW)))
    return costs


_FEW = 1009
"""Of ids, from which the size at any other number follows. With 64 or less an id has a column in the wide part, too."""


def kinds_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Kinds of ids that an agent with these settings has; authors, if none."""
    from feedgym.agents.two_tower import ID_KINDS

    return tuple(kind for kind in ID_KINDS if settings[f"{kind}_buckets"]) or ("author",)


def _parameters(plan: AgentPlan, feed: Feed, way: Mapping[str, Any], rows: int) -> list[tuple[int, ...]]:
    """Shapes of all parameters of the plan's model with ids shared in another way, and this many ids of each kind."""
    settings = dict(plan.settings) | {f"{kind}_buckets": rows for kind in kinds_of(settings_of(plan))} | dict(way)
    if settings.get("share", "item_encoder") != "item_encoder":
        settings["history_gradient"] = False  # nothing to choose there: an encoder of its own always learns
    model = model_of(make_agent(plan.name, **settings), feed)
    return [tuple(p.shape) for p in model.parameters()]


def settings_of(plan: AgentPlan) -> dict[str, Any]:
    """All settings of an agent, with their values."""
    given = dict(plan.settings)
    return {**kind_named(plan.name).settings_beside(given), **given}


def parts_of(model: "Towers") -> list[tuple[str, int, str]]:
    """Parts of a model that have parameters: name, how many, and the sizes of layers and tables in words."""
    prefixes = ("",) if len(model.models) == 1 else ("first.", "second.")
    parts = [
        (prefix + name, sum(p.numel() for p in part.parameters()), ", ".join(sizes_of(part)))
        for prefix, one in zip(prefixes, model.models, strict=True)
        for name, part in one.named_children()
    ]
    return [part for part in parts if part[1]]


def sizes_of(part: "nn.Module") -> list[str]:
    """Layers as ``in > out``, with those after it where they are a chain; tables as ``rows x width``; no biases."""
    from torch import nn

    from feedgym.towers.encoders import FeedForward

    def first_layer(module: nn.Module) -> nn.Linear | None:
        return next((each for each in module.modules() if isinstance(each, nn.Linear)), None)

    if isinstance(part, FeedForward):
        layers = [layer for layer in map(first_layer, part.children()) if layer is not None]
        return [" > ".join(map(str, (layers[0].in_features, *(layer.out_features for layer in layers))))]
    if isinstance(part, nn.Linear):
        return [f"{part.in_features} > {part.out_features}"]
    sizes = [f"{len(p):,} x {p.shape[1]}" for p in part.parameters(recurse=False) if p.ndim == 2]
    return sizes + [size for child in part.children() for size in sizes_of(child)]


def towers_text(config: TowersCommandConfig) -> str:
    """What the command prints."""
    plan, feed = config.plan(), config.feed()
    model = model_of(plan, feed)
    parts = parts_of(model)
    total = sum(count for _, count, _ in parts)
    width = max(len(name) for name, _, _ in parts) + 2
    lines = [f"{config.agent}: {kind_named(plan.name).description}", f"on the world {config.world}:", ""]
    lines.append(f"{'part':<{width}}{'parameters':>12}  layers (in > out) and tables (rows x width)")
    for name, count, sizes in parts:
        first, *more = textwrap.wrap(sizes, 90) or [""]
        lines.append(f"{name:<{width}}{count:>12,}  {first}".rstrip())
        lines += [" " * (width + 14) + line for line in more]
    settings = settings_of(plan)
    lines += [f"{'total':<{width}}{total:>12,}", "", *_choices_text(model, settings)]
    num_ids = config.ids or max((int(settings.get(f"{kind}_buckets") or 0) for kind in kinds_of(settings)), default=0)
    if num_ids:
        lines += ["", *_ids_text(id_costs(plan, feed, num_ids), num_ids, settings)]
    else:
        lines += ["", f"What ids of high cardinality cost: feedgym towers {shlex.quote(config.agent)} --ids 1000000"]
    return "\n".join(lines)


def _choices_text(model: "Towers", settings: dict[str, Any]) -> list[str]:
    """What the parts do with each other."""
    c = model.config
    shared = {
        "none": "nothing: the user tower has tables and layers of its own for what was clicked",
        "embeddings": "the tables: of what was clicked, the user tower sees them through a layer of its own",
        "item_encoder": "the item tower: what was clicked is its vector of the article",
    }[c.share]
    if c.share == "item_encoder":
        shared += ", and learns through it" if c.history_gradient else ", and does not learn through it"
    uses = {
        each.name: f"{each.name} of the article and of what was clicked" for each in c.item.categories if each.hashed
    }
    uses |= {name: f"{uses[name]}, read, clicked last" for name in c.id_features}
    uses |= {} if c.reader_id is None else {"reader": "reader"}
    one = "; one table for all" if any(each.table for each in c.item.categories) else ""
    ids = [f"ids           {'; '.join(uses.values())}{one}"] if uses else []
    channel = ["channel       text and topic of the article, matched with what was clicked"] if model.channels else []
    ranker = settings.get("ranker", "none")
    ranks = c.reranker or (None if ranker == "none" else ranker)
    if settings.get("crosses", "none") != "none":
        ranks = f"{ranks or 'a weighted sum'}, told of what the reader has been shown,"
    stage = "one stage" if ranks is None else f"{ranks} reranks the shortlist"
    return [
        f"shared        {shared}",
        f"encoders      {c.encoder} of the last {c.history_length} clicks; {c.item_encoder} of an article's features",
        *ids,
        f"prediction    {c.retrieval_prediction}; {stage}",
        f"age           {c.age_decay}" + ("; and in the item tower, at each tick" if c.age_in_item_tower else ""),
        *channel,
        f"in the index  {model.augmented_dim} numbers an article: {c.dim} of the vector, its bias, columns of age"
        + (", text and topic" if channel else "")
        + ("" if len(model.models) == 1 else ", for each of two models"),
    ]


def _ids_text(costs: Sequence[IdCost], num_ids: int, settings: Mapping[str, Any]) -> list[str]:
    """A row for each way to share, and what to think of the factor."""
    kinds = ", ".join(f"{kind} ({settings[f'{kind}_dim']} numbers each)" for kind in kinds_of(settings))
    lines = [f"{num_ids:,} hashed ids of each kind: {kinds}"]
    lines.append(f"{'share':<14}{'tables':>6}{'their parameters':>18}{'whole model':>14}{'MB':>8}{'times smaller':>15}")
    for c in costs:
        megabytes, factor = c.total * 4 / 1e6, costs[0].total / c.total  # float32
        lines.append(f"{c.share:<14}{c.tables:>6}{c.id_parameters:>18,}{c.total:>14,}{megabytes:>8.1f}{factor:>15.2f}")
    return [*lines, *textwrap.wrap(UBER, 110)]


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(TowersCommandConfig, args, "towers", __doc__)
    with stopping("towers"):
        print(towers_text(config))


if __name__ == "__main__":
    main()
