"""What a log says of a trained agent: propensities of logged slates, and what is estimated (docs/mathematics.md 5).

The agent is frozen and goes through the log again: at every logged visit it says which slates it would have drawn.
Beside it go, where they are given, a reward model and an estimate of who logged.
Shapes: n visits, K positions.
"""

import dataclasses
from dataclasses import replace

import numpy as np

from feedgym.agents.logged.behaviour import FittedBehaviour
from feedgym.agents.logged.blocks import Block, Part, joined, logged_columns, model_columns, part_of
from feedgym.agents.logged.reward_model import RewardModel
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.ope import ESTIMATORS as KNOWN
from feedgym.agents.ope import ArticleTimes, Evaluation, LoggedSlates, evaluate
from feedgym.agents.slate_policy import Served
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.arrays import Bools
from feedgym.env.checks import require

BLOCK = 4096
"""Visits whose shortlists are in memory at once."""
ESTIMATORS = ("sniips", "snrips", "cascade_dr", "sniips_dr", "snsips", "dm")
"""Those of the default report (docs/mathematics.md 5.3), the doubly robust one of the reader who looks at articles one
by one, and the one that assumes nothing. What needs a model of rewards is left out without one."""
MOST_GONE = 0.05
"""Share of visits that may show articles which are gone by the tick, on a clock that is not the log's own; and of
lists that may be at their end on their first page."""


def evaluate_on_log(
    agent: TwoTowerAgent,
    site: LoggedSite,
    *,
    from_hours: float = 0.0,
    rng: np.random.Generator,
    replicates: int = 1000,
    model: RewardModel | None = None,
    behaviour: FittedBehaviour | None = None,
) -> Evaluation:
    """Estimate what an agent would have earned a visit, had it served these logged visits.

    Args:
        agent: new and frozen (``adopt``), made for this site.
        site: the log, at its first tick.
        from_hours: visits from here on are evaluated: those that the agent has not learned from.
        rng: of the bootstrap, and of the slates that stand for the model's expectation of the target.
        replicates: of the bootstrap.
        model: of rewards; its regression is new and frozen too, made for this site. With it a log that no weight can
            help (greedy, ``epsilon = 0``, without propensities) still has ``dm``, which extrapolates.
        behaviour: whose chances stand for the log's own; the estimates are then marked so.

    Returns:
        Rewards a visit, on the logger's states.

    Raises:
        ValueError: a log or an agent from which nothing can be estimated, and what to do.
    """
    require(site.tick == 0 and len(agent.store) == 0, "site", f"tick {site.tick}", "its first tick, and a new agent")
    why = _why_no_weights(site, behaviour)
    allowed = "a log by a policy that explores, with its propensities (feedgym log), or a reward model for dm alone"
    require(why is None or model is not None, "log", why, allowed)
    _check_target(agent)
    ahead = _check_clocks(agent, site)
    if ahead:
        # Its values are of what is live at the visit, not when the slates were drawn.
        require(why is None, "log", why, "propensities: no model of rewards knows slates that were drawn ahead")
        check_drawn_now(site, estimated=behaviour is not None)
        model = None
    parts, gone, short = _parts(agent, site, from_hours, model, behaviour, rng, weighs=why is None)
    require(bool(parts), "from_hours", from_hours, f"a time before the last visit ({site.summary.last_hours:g} h)")
    whole = joined(parts)
    _check_whole(whole.log)
    first = whole.log.first_visits()
    target = None if whole.target is None else whole.target.select(first)
    values = None if whole.model is None else whole.model.select(first)
    log = whole.log.select(first)
    names = ("dm",) if why is not None else tuple(name for name in ESTIMATORS if _can(name, whole))
    found = evaluate(log, target, values, rng=rng, estimators=names, replicates=replicates)
    said = found.notes if why is None else (*found.notes, f"dm alone: {why}")
    if site.other_policy is not None:
        said = (*said, site.other_policy)
    if gone:
        said = (*said, f"{gone:,} visits are left out: they show articles that were gone by the tick (tick_hours)")
    if short:
        said = (*said, f"{short:,} first pages are left out: too much of their lists had expired (list_depth)")
    if ahead:
        said = (*said, "slates drawn ahead: of known readers, the first page of each list; no reward model")
    return replace(found, notes=said)


def check_drawn_now(site: LoggedSite, *, estimated: bool) -> None:
    """Refuse to estimate who logged slates that were drawn ahead: the estimate is of what is live at the visit."""
    possible = not estimated or site.summary.num_ahead == 0
    require(possible, "propensities", "estimated", "those of the log: its slates were drawn ahead")


def _why_no_weights(site: LoggedSite, behaviour: FittedBehaviour | None) -> str | None:
    summary = site.summary
    if behaviour is not None:
        # Chances that are unknown are estimated; what had none stays impossible.
        summary = dataclasses.replace(summary, num_unknown=0)
    return summary.why_unsupported


def _check_target(agent: TwoTowerAgent) -> None:
    greedy = agent.config.policy.greedy
    require(not greedy, "greedy", greedy, "False: of a greedy agent's slates few were ever logged")
    rules = agent.config.policy.rules
    require(not rules, "rules", rules, "none: no estimator knows what they leave (estimate_days=0 asks for none)")


def _check_clocks(agent: TwoTowerAgent, site: LoggedSite) -> bool:
    """Whether log and agent both draw slates ahead; refuse where one of them does."""
    ahead, drawn = agent.config.serving.clocks.slates_ahead, site.summary.num_ahead > 0
    log = "slates drawn ahead" if drawn else "slates drawn at the visit"
    allowed = f"{'batch' if drawn else 'realtime or streaming'}: the log's are {log}, from what was live then"
    require(ahead == drawn, "serving", agent.config.serving.serving, allowed)
    old = drawn and site.log.exploration != "visits"
    require(not old, "log", "slates drawn ahead, one deep", "lists of slates, as of log format 2: log anew")
    return ahead


def _parts(
    agent: TwoTowerAgent,
    site: LoggedSite,
    from_hours: float,
    model: RewardModel | None,
    behaviour: FittedBehaviour | None,
    rng: np.random.Generator,
    *,
    weighs: bool,
) -> tuple[list[Part], int, int]:
    """All visits from ``from_hours`` on, and how many were left out: as articles are gone, as lists were at an end."""
    times, epsilon = ArticleTimes(*site.newsroom.live_hours), agent.config.policy.epsilon
    block, parts, gone, short, seen = Block(), [], 0, 0, 0
    while not site.done:
        served = agent.act(site.visits, site.catalogue)
        if model is not None:
            model.agent.act(site.visits, site.catalogue)
        if len(site.visits) and len(site.catalogue) and site.now >= from_hours - 1e-9:
            ahead = agent.config.serving.clocks.slates_ahead
            asked = _drawn_alike(served, site) if ahead else np.ones(len(site.visits), dtype=np.bool_)
            there = asked & _still_there(site)
            kept = there & ~_at_its_end(served, site) if ahead else there
            seen, gone = seen + int(asked.sum()), gone + int(asked.sum() - there.sum())
            short += int(there.sum() - kept.sum())
            if kept.any():
                columns = logged_columns(site, behaviour)
                if model is not None:
                    columns |= model_columns(model, site, served.draw, kept, rng)
                block.add(columns, served.draw, kept)
        site.advance()
        if block.size >= BLOCK or (site.done and block.size):
            parts.append(part_of(block, epsilon, times, weighs=weighs, estimated=behaviour is not None))
            block = Block()
    allowed = f"less than {MOST_GONE:.0%} of them: a smaller tick_hours"
    require(gone <= MOST_GONE * max(seen, 1), "visits that show articles which are gone by the tick", gone, allowed)
    allowed = f"less than {MOST_GONE:.0%} of them: deeper lists (list_depth), or fresher ones (reader_refresh_hours)"
    require(short <= MOST_GONE * max(seen, 1), "first pages of lists of which too much has expired", short, allowed)
    return parts, gone, short


def _drawn_alike(served: Served, site: LoggedSite) -> Bools:
    """First pages, bool (n,), of readers who were known when lists were drawn: the same moment for both."""
    assert served.ahead is not None
    made = served.ahead.made_hours
    sampled: Bools = ~(site.logged.greedy | served.greedy)
    first: Bools = sampled & ~np.asarray(site.logged.further)
    other = sampled & (np.abs(made - site.logged.made_hours) > 1e-6)
    if other.any():
        mine, theirs = made[other][0], site.logged.made_hours[other][0]
        require(False, "reader_refresh_hours", f"slates of {mine:g} h", f"the log's clock: its are of {theirs:g} h")
    return first


def _at_its_end(served: Served, site: LoggedSite) -> Bools:
    """Visits, bool (n,), whose list was at its end, or of whose shortlist nothing is left to the target."""
    ended: Bools = np.asarray(site.logged.short) | (served.draw.shortlist_size == 0)
    return ended


def _still_there(site: LoggedSite) -> Bools:
    """Visits whose articles are live at this tick, (n,): on a log's own clock all of them, which others check."""
    logged = site.logged
    shown = logged.article_id
    gone: Bools = (shown >= 0) & ~np.isin(shown, site.catalogue.article_id)
    there: Bools = ~gone.any(axis=1) | (logged.num_live >= 0)
    return there


def _can(name: str, whole: Part) -> bool:
    needs = KNOWN[name].needs
    modelled = whole.model is not None or not {"model", "slot_model"} & set(needs)
    return modelled and ("slot_marginal" not in needs or whole.log.slot_marginal is not None)


def _check_whole(log: LoggedSlates) -> None:
    """Refuse slates with an empty place that some live article could have had: any policy would have filled it."""
    assert log.num_live is not None
    size = log.article_id.shape[1]
    empty = (log.article_id < 0) & (np.arange(size) < log.num_live[:, None])
    count = int(np.count_nonzero(empty.any(axis=1)))
    require(not count, "slates with an empty place", count, f"0: estimates need all {size} articles of every slate")
