"""Logged visits on their way to an estimate: what a log, a target and a reward model say of them, block by block.

Shapes: n visits, K positions, M shortlist.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from feedgym.agents.logged.behaviour import FittedBehaviour
from feedgym.agents.logged.reward_model import RewardModel, model_values, predictions, slot_rewards
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.ope import ArticleTimes, LoggedSlates, ModelValues, TargetPropensities, target_propensities
from feedgym.agents.slate_policy import Draw
from feedgym.env.arrays import Arrays, Bools

MODEL_COLUMNS = ("q", "q_pi", "slot_q", "slot_q_pi")


@dataclass
class Block:
    """Logged visits that wait for their target propensities, an entry for each tick."""

    logged: list[Arrays] = field(default_factory=list)
    drawn: list[Draw] = field(default_factory=list)
    size: int = 0

    def add(self, columns: Arrays, draw: Draw, kept: Bools) -> None:
        """The visits of one tick, as far as they are kept, bool (n,)."""
        self.logged.append({name: values[kept] for name, values in columns.items()})
        self.drawn.append(draw.rows(kept))
        self.size += int(kept.sum())

    def columns(self) -> Arrays:
        """All of them, by name."""
        return {name: np.concatenate([tick[name] for tick in self.logged]) for name in self.logged[0]}


@dataclass(frozen=True)
class Part:
    """Some visits, ready to be estimated from."""

    log: LoggedSlates
    target: TargetPropensities | None
    model: ModelValues | None


def logged_columns(site: LoggedSite, behaviour: FittedBehaviour | None) -> Arrays:
    """What the log says of this tick's slates; with ``behaviour`` its chances are those estimated."""
    logged, single = site.logged, site.logged.article_id.shape[1] == 1
    slot = np.minimum(logged.slot_propensity, 1.0)
    marginal = np.minimum(logged.slot_marginal, 1.0)
    if behaviour is not None:
        slot, marginals = behaviour.propensities(site)
        marginal = np.clip(marginals.slot_marginal, 1e-300, 1.0)
    elif single:
        # Of a single position the slot's chance is the marginal.
        marginal = np.where(np.isnan(marginal), slot, marginal)
    return {
        "reader_id": site.visits.reader_id,
        "article_id": logged.article_id,
        "reward": slot_rewards(site),
        "slot_propensity": slot,
        "slot_marginal": marginal,
        "epsilon": logged.epsilon,
        "greedy": logged.greedy,
        # Of a site that does not say: now.
        "num_live": np.where(logged.num_live < 0, len(site.catalogue), logged.num_live),
        "made_hours": np.where(np.isnan(logged.made_hours), site.now, logged.made_hours),
        "shown_hours": np.full(len(site.visits), site.now),
        "slate_id": logged.slate_id,
    }


def model_columns(model: RewardModel, site: LoggedSite, draw: Draw, kept: Bools, rng: np.random.Generator) -> Arrays:
    """The reward model's values of this tick's visits, (n, K) each; 0 of those that are not kept."""
    live = np.sort(site.catalogue.article_id)
    g = predictions(model.agent, site.visits, live)[kept]
    found = model_values(model, g, live, site.logged.article_id[kept], draw.rows(kept), rng)
    columns: Arrays = {}
    for name in MODEL_COLUMNS:
        columns[name] = np.zeros(site.logged.article_id.shape)
        columns[name][kept] = getattr(found, name)
    return columns


def part_of(block: Block, epsilon: float, times: ArticleTimes, *, weighs: bool, estimated: bool) -> Part:
    """A block as records.

    Args:
        block: with visits.
        epsilon: of the target.
        times: of the articles.
        weighs: False: propensities are not looked at, and stand as 1: nothing but ``dm`` may be asked for.
        estimated: they are estimates.
    """
    columns = block.columns()
    model = ModelValues(**{name: columns.pop(name) for name in MODEL_COLUMNS}) if "q" in columns else None
    optional: dict[str, Any] = dict(columns)
    if not weighs:
        optional["slot_propensity"] = np.ones(columns["slot_propensity"].shape)
        optional["slot_marginal"] = None
    for name in ("slot_marginal", "epsilon"):
        if optional[name] is not None and np.isnan(columns[name]).any():
            optional[name] = None
    if estimated:
        # The logger's own share of exploration is as unknown as its chances.
        optional["epsilon"] = None
    if (columns["slate_id"] < 0).any():
        optional["slate_id"] = None
    log = LoggedSlates(**optional, estimated=estimated)
    if not weighs:
        return Part(log, None, model)
    draw = Draw.joined(block.drawn)
    marginals = log.slot_marginal is not None
    target = target_propensities(log, draw.logits, draw.shortlist, epsilon, articles=times, marginals=marginals)
    return Part(log, target, model)


def joined(parts: list[Part]) -> Part:
    """All visits as one."""
    targets = [part.target for part in parts if part.target is not None]
    models = [part.model for part in parts if part.model is not None]
    return Part(
        _joined(LoggedSlates, [part.log for part in parts], estimated=parts[0].log.estimated),
        _joined(TargetPropensities, targets) if targets else None,
        _joined(ModelValues, models) if models else None,
    )


def _joined(kind: Any, parts: list[Any], **others: Any) -> Any:
    """One record of many: a column that some part lacks is lacking."""
    names = [f.name for f in fields(kind) if isinstance(getattr(parts[0], f.name), np.ndarray)]
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    whole = {name: np.concatenate(found) for name, found in columns.items() if all(v is not None for v in found)}
    return kind(**whole, **others)
