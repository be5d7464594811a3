"""A log as episodes: one for each reader, a step for each visit, as in ``FeedGym/NewsFeed-v0``.

Observations are the ``reader`` and ``clock`` of that face, made anew from the log and ``articles.parquet`` alone.
Shapes: V visits, P rows of readers, T steps of an episode, K positions, F columns. Time is in hours.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.agents.logged import LoggedSite
    from feedgym.env.feed import Feed

INFOS = ("clicks", "dwell_minutes", "subscribed", "slot_propensity", "log_propensity")
"""What is told of a served slate, beside its reward."""


@dataclass(frozen=True, kw_only=True)
class Closing:
    """What a site sees of each of its P rows after the last visit."""

    observation: Floats
    """float32 (P, F)."""
    time_hours: Doubles
    """When, (P,)."""


@dataclass(frozen=True, kw_only=True)
class Steps:
    """All visits of a log in order of time."""

    names: tuple[str, ...]
    """Of the F columns."""
    row: Ints
    """The reader's row, int64 (V,)."""
    reader_id: Ints
    """int64 (V,)."""
    values: Arrays
    """By name, (V, ...): ``time_hours``, ``observations``, ``actions``, ``rewards``, and ``INFOS``."""
    tick_later: Closing
    """A tick after each row's last visit: what the face shows when a reader has left."""
    at_end: Closing
    """At the end of the log's last day."""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One reader's life in a log."""

    reader_id: int
    observations: Floats
    """float32 (T + 1, F): before each visit, and the last one after them."""
    actions: Ints
    """What was served, ids of the log, int64 (T, K); -1 where there was nothing to show."""
    rewards: Doubles
    """Of each visit, float64 (T,)."""
    terminations: Bools
    """(T,): the reader left for good."""
    truncations: Bools
    """(T,): the log ended."""
    infos: Arrays
    """As Gymnasium's, (T + 1, ...): entry t + 1 of ``INFOS`` says what step t did, entry 0 nothing; ``time_hours`` is
    that of the observation. Chances are NaN where the log does not know them."""


def column_names(site: "LoggedSite") -> tuple[str, ...]:
    """Names of the F columns of an observation."""
    topics, dim = site.catalogue.category_sizes[0], site.catalogue.archive.dim
    taste = [f"liked_text_{d}" for d in range(dim)] + [f"liked_topic_{t}" for t in range(topics)]
    own = site.visits.feature_names
    return (*taste, "minutes", "clicks", "visits", "gap", *own, "hour_sin", "hour_cos")


def steps_of(site: "LoggedSite") -> Steps:
    """Go through a log, with what a Gymnasium face would have shown at each visit.

    Costs a copy of P rows at each tick that has visits.

    Args:
        site: the log, at its first tick.
    """
    from feedgym.env.faces import ReaderTable, clock_columns

    require(site.tick == 0, "site", f"tick {site.tick}", "its first tick")
    names = column_names(site)
    table = ReaderTable(cast("Feed", site))  # to the table, a log is the site that wrote it

    def seen(rows: Ints) -> Floats:
        clock = np.broadcast_to(clock_columns(site.now), (len(rows), 2))
        both: Floats = np.concatenate([table.columns()[rows], clock], axis=1)
        return both

    rows = np.arange(site.config.num_readers)
    later = Closing(observation=seen(rows), time_hours=np.zeros(len(rows)))
    parts: list[Arrays] = []
    while not site.done:
        visits, clicks = site.visits, site.outcome.clicks
        if len(visits):
            parts.append(_values(site) | {"observations": seen(visits.rows)})
        site.advance()
        table.record(visits.rows, clicks)
        table.open_tick()
        if len(visits):
            later.observation[visits.rows] = seen(visits.rows)
            later.time_hours[visits.rows] = site.now
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Steps(
        names=names,
        row=values.pop("row"),
        reader_id=values.pop("reader_id"),
        values=values,
        tick_later=later,
        at_end=Closing(observation=seen(rows), time_hours=np.full(len(rows), site.now)),
    )


def _values(site: "LoggedSite") -> Arrays:
    """What the log says of this tick's visits, (n, ...)."""
    visits, outcome, logged = site.visits, site.outcome, site.logged
    paid: Doubles = site.slot_reward.sum(axis=1, dtype=np.float64)
    return {
        "row": visits.rows,
        "reader_id": visits.reader_id,
        "time_hours": np.full(len(visits), site.now),
        "actions": np.where(logged.article_id >= 0, site.newsroom.original_id[logged.article_id], -1),
        "rewards": paid + site.config.reward.subscription * outcome.subscribed,
        "clicks": outcome.clicks,
        "dwell_minutes": outcome.dwell_minutes,
        "subscribed": outcome.subscribed,
        "slot_propensity": logged.slot_propensity,
        "log_propensity": np.log(logged.slot_propensity).sum(axis=1),
    }


def episodes_of(steps: Steps, left: Ints, readers: int | None = None) -> list[Episode]:
    """Visits put together by reader.

    Args:
        steps: of a log.
        left: ids of the readers who left for good after their last visit, int64 (any,). The simulator's logs know; a
            real site never does, and the episodes of its readers are truncated.
        readers: the first so many of those who came, by row; all if not given.

    Returns:
        An episode for each reader who came, by row rising.
    """
    order = np.argsort(steps.row, kind="stable")
    starts = np.flatnonzero(np.diff(steps.row[order], prepend=-1))
    # Whoever reads episodes takes them one by one: here, and nowhere before, readers are gone through singly.
    visits = np.split(order, starts[1:])[:readers]
    gone = np.isin(steps.reader_id[order[starts]], left)
    return [_episode(steps, at, bool(has_left)) for at, has_left in zip(visits, gone, strict=False)]


def _episode(steps: Steps, at: Ints, has_left: bool) -> Episode:
    """The episode of the visits ``at`` (T,) of one reader."""
    closing = steps.tick_later if has_left else steps.at_end
    row = int(steps.row[at[0]])
    values = {name: values[at] for name, values in steps.values.items()}
    is_last: Bools = np.arange(len(at)) == len(at) - 1
    infos = {name: _after_reset(values[name], 1.0 if name == "slot_propensity" else 0.0) for name in INFOS}
    return Episode(
        reader_id=int(steps.reader_id[at[0]]),
        observations=np.concatenate([values["observations"], closing.observation[row][None]]),
        actions=values["actions"],
        rewards=values["rewards"],
        terminations=is_last & has_left,
        truncations=is_last & (not has_left),
        infos=infos | {"time_hours": np.append(values["time_hours"], closing.time_hours[row])},
    )


def _after_reset(values: AnyArray, nothing: float) -> AnyArray:
    """Values of the steps, (T, ...), below one of ``nothing``: no slate was served before the first."""
    return np.concatenate([np.full((1, *values.shape[1:]), nothing, dtype=values.dtype), values])
