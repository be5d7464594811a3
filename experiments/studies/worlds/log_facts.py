"""Facts of an impression log, simulated or a site's own: both are measured by this code.

A log here is FeedGym's (docs/guide/log.md) or a site's with the columns that it has; a fact that needs a column which
lacks is NaN. Nothing latent is read: what was *shown* counts, whether or not somebody looked.
A session ends where a reader is silent for half an hour, in every log alike; where a log numbers its sessions, the
facts by number stand beside them. A site's own numbers may split a session within minutes (docs/studies/worlds.md).
Shapes: R rows, a row per impression; n slates; m gaps or clicks. Time is in hours, read times are in seconds.

``python -m feedgym.experiments.studies.worlds.log_facts --logs FOLDER FOLDER ...`` prints a table, a column per log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.log import LogReader, read_impressions

SILENCE_HOURS = 0.5
"""A session ends after so much silence."""
AGES = (1, 3, 12, 24, 72)
GAP_QUANTILES = (10, 25, 50, 75, 90)
READ_QUANTILES = (10, 50, 90, 99)
MOST_SHOWN = 4
"""Repeats are counted up to this many earlier sights, and more as this many."""
NEEDED = ("time_hours", "reader_id", "article_id", "clicked")
OPTIONAL = ("slate_id", "visit_id", "position", "session", "device", "dwell_minutes")


@dataclass(frozen=True, kw_only=True)
class FactsLog:
    """A log in columns, (R,) each. NaN, -1 or None stand for what a log lacks."""

    hours: Doubles
    """When the slate was shown."""
    reader: Ints
    slate: Ints
    """Number of the slate."""
    article: Ints
    clicked: Bools
    position: Ints | None = None
    """0 on top."""
    session: Ints | None = None
    """The log's own number of the session."""
    device: tuple[Ints, tuple[str, ...]] | None = None
    """Index (R,) of the names."""
    read_seconds: Doubles | None = None
    """Of clicked rows; 0 or NaN: not known."""
    age_hours: Doubles | None = None
    """Of the article."""
    clicks_only: bool = False
    """The log has clicks, not what was shown: its slates are single clicks."""


# Reading


def read_log(path: str | Path) -> FactsLog:
    """A FeedGym log or a site's own: a folder of a run, of part files, or a Parquet file; articles beside it."""
    path = Path(path)
    table = read_impressions(path, [*NEEDED, *OPTIONAL], site_log=True)

    def column(name: str) -> Any:
        values = table[name]
        return None if values.null_count == len(values) else values

    def whole(name: str) -> Ints | None:
        values = column(name)
        return None if values is None else values.fill_null(-1).to_numpy().astype(np.int64)

    hours = table["time_hours"].to_numpy()
    reader, article = (table[name].to_numpy().astype(np.int64) for name in ("reader_id", "article_id"))
    clicked: Bools = table["clicked"].to_numpy().astype(np.bool_)
    # A visit is a slate that was looked at: in batch serving one slate_id stands for several.
    slate = whole("visit_id")
    slate = whole("slate_id") if slate is None else slate
    if slate is None:
        slate = np.arange(len(hours))
    device = column("device")
    if device is not None:
        device = device.combine_chunks()
        device = device if hasattr(device, "indices") else device.dictionary_encode()
        codes = device.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        device = (codes, tuple(device.dictionary.to_pylist()))
    dwell = column("dwell_minutes")
    slate = np.unique(slate, return_inverse=True)[1].astype(np.int64)
    return FactsLog(
        hours=hours,
        reader=reader,
        slate=slate,
        article=article,
        clicked=clicked,
        position=whole("position"),
        session=whole("session"),
        device=device,
        read_seconds=None if dwell is None else 60.0 * dwell.to_numpy().astype(np.float64),
        age_hours=_ages(path, hours, article),
        clicks_only=bool(clicked.all()),
    )


def _ages(path: Path, hours: Doubles, article: Ints) -> Doubles | None:
    """Ages of the articles (R,), of the file of articles beside the log; None without, NaN where it lacks one."""
    import pyarrow.parquet as pq

    beside = LogReader(path).articles_path
    if beside is None:
        return None
    table = pq.read_table(beside, columns=["article_id", "published_hours"])
    ids, published = table["article_id"].to_numpy(), table["published_hours"].to_numpy()
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], article), len(ids) - 1)
    known = ids[order][at] == article
    age: Doubles = np.where(known, hours - published[order][at], np.nan)
    return age


# Parts that other facts use too


def session_gaps(reader: Ints, hours: Doubles, starts: Bools) -> tuple[Doubles, Ints]:
    """Gaps between sessions (m,) and slates in each session, of slates (n,) in order of reader and time.

    Args:
        reader: (n,).
        hours: (n,).
        starts: the slate is the first of a session of its reader, (n,).
    """
    same = reader[1:] == reader[:-1]
    gaps: Doubles = (hours[1:] - hours[:-1])[same & starts[1:]]
    edges = np.concatenate([np.flatnonzero(starts), [len(reader)]])
    return gaps, np.diff(edges)


def weibull_shape(gaps: Doubles) -> float:
    """Shape of the Weibull distribution most likely to give these gaps (m,): below 1, heavier than exponential."""
    if len(gaps) < 2 or gaps.min() == gaps.max():
        return float("nan")
    log = np.log(gaps / gaps.max())
    mean = log.mean()
    low, high = 0.02, 50.0
    for _ in range(60):
        k = 0.5 * (low + high)
        weight = np.exp(k * log)
        # The derivative of the likelihood in k, which falls: bisection cannot miss.
        low, high = (k, high) if 1.0 / k + mean > (weight @ log) / weight.sum() else (low, k)
    return 0.5 * (low + high)


def slope_of_clicks(count: Ints) -> float:
    """Slope of the log of clicks over the log of the rank, each rank (K,) weighed by its clicks."""
    seen = count > 0
    if seen.sum() < 2:
        return float("nan")
    rank = np.log(np.arange(1.0, len(count) + 1.0))[seen]
    return float(np.polyfit(rank, np.log(count[seen]), 1, w=np.sqrt(count[seen]))[0])


def odds_by_sights(reader: Ints, article: Ints, moment: Doubles | Ints, clicked: Bools, most: int) -> list[float]:
    """Odds of a click after 1, 2, .. ``most`` and more earlier sights of the article, over those at first sight.

    Args:
        reader: of each sight, (R,).
        article: (R,).
        moment: orders the sights of a reader, (R,).
        clicked: (R,); what a reader has clicked before is left out.
        most: sights from here on count as this many.

    Returns:
        NaN where there was no such sight, or no click at first sight.
    """
    order = np.lexsort((moment, article, reader))
    reader, article, clicked = reader[order], article[order], clicked[order]
    fresh = np.concatenate([[True], (reader[1:] != reader[:-1]) | (article[1:] != article[:-1])])
    first = np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))
    before: Ints = np.cumsum(clicked) - clicked
    never: Bools = before == before[first]
    sights = np.minimum(np.arange(len(order)) - first, most)[never]
    clicks = np.bincount(sights, weights=clicked[never], minlength=most + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = clicks / (np.bincount(sights, minlength=most + 1) - clicks)
        return [float(value) for value in odds[1:] / odds[0]]


def own_hour(reader: Ints, hours: Doubles, least: int = 10) -> float:
    """How much more alike the hours of the day of one reader's sessions are than those of any two readers'.

    The mean of ``cos(2 pi (h - h') / 24)`` over pairs of sessions of one reader, mean over readers with at least
    ``least`` sessions, less the mean over all pairs: 0 where readers differ in nothing. Sessions (n,).
    """
    turn = np.exp(2j * np.pi * hours / 24.0)
    _, at = np.unique(reader, return_inverse=True)
    size = np.bincount(at).astype(np.float64)
    total = np.bincount(at, weights=turn.real) + 1j * np.bincount(at, weights=turn.imag)
    known = size >= least
    if not known.any():
        return float("nan")
    own = (np.abs(total[known]) ** 2 - size[known]) / (size[known] * (size[known] - 1.0))
    n = float(len(hours))
    return float(own.mean() - (abs(turn.sum()) ** 2 - n) / (n * (n - 1.0)))


# Facts


def log_facts(log: FactsLog) -> dict[str, float]:
    """All facts by name; NaN where the log lacks what a fact needs."""
    return _visit_facts(log) | _read_facts(log) | _click_facts(log)


def _visit_facts(log: FactsLog) -> dict[str, float]:
    """Returns, sessions, hours of the day: of slates, whatever they showed."""
    _, row = np.unique(log.slate, return_index=True)
    order = row[np.lexsort((log.slate[row], log.hours[row], log.reader[row]))]
    reader, hours = log.reader[order], log.hours[order]
    other = np.concatenate([[True], reader[1:] != reader[:-1]])
    # A tick of half an hour is no silence: clocks in ticks add up to a little more or less.
    starts = other | (np.diff(hours, prepend=-np.inf) > SILENCE_HOURS + 1e-6)
    found = _session_facts(reader, hours, starts, "", log.clicks_only)
    if log.session is None:
        by_number = ("gap Weibull shape", "gap p50, h", "slates per session", "sessions of one slate")
        found |= {f"{name}, by number": float("nan") for name in by_number}
    else:
        session = log.session[order]
        numbered = other | (np.diff(session, prepend=-2) != 0)
        by_own = _session_facts(reader, hours, numbered, ", by number", log.clicks_only)
        found |= {name: by_own[name] for name in by_own if not name.startswith(("gap p10", "gap p25", "gap p75"))}
    gaps, _ = session_gaps(reader, hours, starts)
    long = gaps[gaps > 12.0]
    apart = np.abs((long + 12.0) % 24.0 - 12.0)
    for limit in (1, 3):
        name = f"gaps over 12 h within {limit} h of whole days"
        found[name] = float((apart <= limit).mean()) if len(long) else float("nan")
    found["own hour of the day"] = own_hour(reader[starts], hours[starts])
    by_hour = np.bincount((hours % 24.0).astype(int), minlength=24)
    found["traffic peak / trough"] = float(by_hour.max() / max(by_hour.min(), 1))
    return found


def _session_facts(reader: Ints, hours: Doubles, starts: Bools, which: str, clicks_only: bool) -> dict[str, float]:
    gaps, sizes = session_gaps(reader, hours, starts)
    found = {f"gap Weibull shape{which}": weibull_shape(gaps[gaps > 0])}
    for q in GAP_QUANTILES:
        found[f"gap p{q}, h{which}"] = float(np.percentile(gaps, q)) if len(gaps) else float("nan")
    lacking = float("nan") if clicks_only else 1.0
    found[f"slates per session{which}"] = lacking * float(sizes.mean())
    found[f"sessions of one slate{which}"] = lacking * float((sizes == 1).mean())
    return found


def _read_facts(log: FactsLog) -> dict[str, float]:
    """Read times of clicks; a time of 0 says that it was not measured."""
    seconds = np.zeros(0) if log.read_seconds is None else log.read_seconds[log.clicked]
    seconds = seconds[seconds > 0]
    return {
        f"read time p{q}, s": float(np.percentile(seconds, q)) if len(seconds) else float("nan") for q in READ_QUANTILES
    }


def _click_facts(log: FactsLog) -> dict[str, float]:
    """What is clicked: repeats by how often they were shown, ages, positions."""
    shown = log.article >= 0
    odds = [float("nan")] * MOST_SHOWN
    if not log.clicks_only:
        odds = odds_by_sights(log.reader[shown], log.article[shown], log.hours[shown], log.clicked[shown], MOST_SHOWN)
    names = [*map(str, range(1, MOST_SHOWN)), f"{MOST_SHOWN}+"]
    found = {f"odds once shown {name} times": value for name, value in zip(names, odds, strict=True)}
    age = np.zeros(0) if log.age_hours is None else log.age_hours[log.clicked]
    age = age[~np.isnan(age)]
    for limit in AGES:
        found[f"share of clicks younger than {limit} h"] = float((age < limit).mean()) if len(age) else float("nan")
    if log.position is not None and log.device is not None and not log.clicks_only:
        codes, devices = log.device
        for index, name in enumerate(devices):
            at = log.position[log.clicked & (codes == index) & (log.position >= 0)]
            found[f"position slope, {name}"] = slope_of_clicks(np.bincount(at, minlength=2))
    return found


# The table


@dataclass(frozen=True, kw_only=True)
class LogFactsConfig:
    """Which logs."""

    logs: tuple[Path, ...]
    """Folders of runs (``feedgym log``), of part files, or Parquet files; ``articles.parquet`` beside them."""


def table(facts: dict[str, dict[str, float]]) -> str:
    """Markdown: a row per fact, a column per log; ``-`` where a log cannot say."""
    names = list(dict.fromkeys(name for found in facts.values() for name in found))
    lines = [f"| fact | {' | '.join(facts)} |", f"|---|{'---|' * len(facts)}"]
    for name in names:
        values = [found.get(name, float("nan")) for found in facts.values()]
        lines.append(f"| {name} | {' | '.join('-' if np.isnan(v) else f'{v:.3g}' for v in values)} |")
    return "\n".join(lines) + "\n"


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(LogFactsConfig, args, "log-facts", __doc__)
    with stopping("log-facts"):
        print(table({path.name: log_facts(read_log(path)) for path in config.logs}))


if __name__ == "__main__":
    main()
