"""What a log says of a trained agent: propensities of logged slates, and the estimates that follow (algorithms.md, 5).

The agent is frozen and goes through the log again: at every logged visit it says which slates it would have drawn.
Shapes: n visits, K positions, M shortlist.
"""

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from feedgym.agents.agent import Served
from feedgym.agents.logged_site import LoggedSite
from feedgym.agents.ope import ArticleTimes, Evaluation, LoggedSlates, TargetPropensities, evaluate
from feedgym.agents.ope.target import target_propensities
from feedgym.agents.two_tower_agent import TwoTowerAgent
from feedgym.env.arrays import AnyArray, Doubles
from feedgym.env.checks import require

BLOCK = 4096
"""Visits whose shortlists are in memory at once."""
ESTIMATORS = ("sniips", "snrips", "snsips")
"""Without a model of rewards, self-normalised: those of the default report, and the one that assumes nothing."""


@dataclass
class _Block:
    """Logged visits that wait for their target propensities, an entry for each tick."""

    logged: list[dict[str, AnyArray]] = field(default_factory=list)
    logits: list[Doubles] = field(default_factory=list)
    shortlist: list[AnyArray] = field(default_factory=list)
    size: int = 0


def evaluate_on_log(
    agent: TwoTowerAgent,
    site: LoggedSite,
    *,
    from_hours: float = 0.0,
    rng: np.random.Generator,
    replicates: int = 1000,
) -> Evaluation:
    """Estimate what an agent would have earned a visit, had it served these logged visits.

    Args:
        agent: new and frozen (``adopt``), made for this site.
        site: the log, at its first tick.
        from_hours: visits from here on are evaluated: those that the agent has not learned from.
        rng: of the bootstrap.
        replicates: of the bootstrap.

    Returns:
        Rewards a visit, on the logger's states.

    Raises:
        ValueError: a log or an agent from which nothing can be estimated, and what to do.
    """
    require(site.tick == 0 and len(agent.store) == 0, "site", f"tick {site.tick}", "its first tick, and a new agent")
    why = site.summary.why_unsupported
    require(why is None, "log", why, "a log by a policy that explores, with its propensities (feedgym log)")
    greedy = agent.config.policy.greedy
    require(not greedy, "greedy", greedy, "False: of a greedy agent's slates few were ever logged")
    times = ArticleTimes(*site.newsroom.live_hours)
    rules = agent.config.policy.rules
    require(not rules, "rules", rules, "none: no estimator knows what they leave (estimate_days=0 asks for none)")
    block, logs, targets = _Block(), [], []
    while not site.done:
        served = agent.act(site.visits, site.catalogue)
        if len(site.visits) and site.now >= from_hours - 1e-9:
            _add(block, site, served)
        site.advance()
        if block.size >= BLOCK or (site.done and block.size):
            log, target = _propensities(block, agent.config.policy.epsilon, times)
            logs.append(log)
            targets.append(target)
            block = _Block()
    require(bool(logs), "from_hours", from_hours, f"a time before the last visit ({site.summary.last_hours:g} h)")
    log, target = _joined(LoggedSlates, logs), _joined(TargetPropensities, targets)
    _check_whole(log)
    first = log.first_visits()
    some = [name for name in ESTIMATORS if name != "sniips" or log.slot_marginal is not None]
    return evaluate(log.select(first), target.select(first), rng=rng, estimators=some, replicates=replicates)


def _check_whole(log: LoggedSlates) -> None:
    """Refuse slates with an empty place that some live article could have had: any policy would have filled it."""
    assert log.num_live is not None
    size = log.article_id.shape[1]
    empty = (log.article_id < 0) & (np.arange(size) < log.num_live[:, None])
    count = int(np.count_nonzero(empty.any(axis=1)))
    require(not count, "slates with an empty place", count, f"0: estimates need all {size} articles of every slate")


def _add(block: _Block, site: LoggedSite, served: Served) -> None:
    assert served.drawn_from is not None
    logits, shortlist = served.drawn_from
    logged, n = site.logged, len(site.visits)
    reward = site.slot_reward.astype(np.float64)
    reward[:, -1] += site.config.reward.subscription * site.outcome.subscribed
    unknown = logged.num_live < 0
    block.logged.append(
        {
            "reader_id": site.visits.reader_id,
            "article_id": logged.article_id,
            "reward": reward,
            "slot_propensity": np.minimum(logged.slot_propensity, 1.0),
            "slot_marginal": np.minimum(logged.slot_marginal, 1.0),
            "epsilon": logged.epsilon,
            "greedy": logged.greedy,
            # Of a site that does not say: now.
            "num_live": np.where(unknown, len(site.catalogue), logged.num_live),
            "made_hours": np.where(np.isnan(logged.made_hours), site.now, logged.made_hours),
            "slate_id": logged.slate_id,
        }
    )
    block.logits.append(logits)
    block.shortlist.append(shortlist)
    block.size += n


def _propensities(block: _Block, epsilon: float, times: ArticleTimes) -> tuple[LoggedSlates, TargetPropensities]:
    columns: dict[str, Any] = {name: np.concatenate([tick[name] for tick in block.logged]) for name in block.logged[0]}
    for name in ("slot_marginal", "epsilon"):
        if np.isnan(columns[name]).any():
            columns[name] = None
    if (columns["slate_id"] < 0).any():
        columns["slate_id"] = None
    log = LoggedSlates(**columns)
    width = max(rows.shape[1] for rows in block.shortlist)
    logits, shortlist = np.zeros((block.size, width)), np.full((block.size, width), -1, dtype=np.int64)
    end = 0
    for z, listed in zip(block.logits, block.shortlist, strict=True):
        start, end = end, end + len(listed)
        logits[start:end, : z.shape[1]], shortlist[start:end, : z.shape[1]] = z, listed
    marginals = log.slot_marginal is not None
    return log, target_propensities(log, logits, shortlist, epsilon, articles=times, marginals=marginals)


def _joined(kind: Any, parts: list[Any]) -> Any:
    """One record of many: a column that some part lacks is lacking."""
    names = [f.name for f in fields(kind) if isinstance(getattr(parts[0], f.name), np.ndarray)]
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    whole = {name: np.concatenate(found) for name, found in columns.items() if all(v is not None for v in found)}
    return kind(**whole)
