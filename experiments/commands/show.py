"""Look inside a run: ``feedgym show FOLDER`` sums it up, ``--visit ID`` shows one slate, ``--reader ID`` one life.

Works on a run that is not finished too, as far as its log goes.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from feedgym.env.checks import require
from feedgym.experiments.runs import RunLog, run_folders

VISIT = (
    *("policy_version", "time_hours", "slate_made_hours", "visit_id", "reader_id", "visit", "position", "article_id"),
    *(
        "shortlist_size",
        "num_live",
        "epsilon",
        "temperature",
        "greedy",
        "explored",
        "in_shortlist",
        "logit",
        "slot_propensity",
    ),
    *(
        "slot_marginal",
        "inclusion",
        "log_propensity",
        "clicked",
        "dwell_minutes",
        "subscribed",
        "reward",
        "hours_to_next_visit",
        "terminated",
    ),
)
LIFE = (
    *("time_hours", "visit_id", "position", "article_id", "clicked", "dwell_minutes", "subscribed", "reward"),
    *("hours_to_next_visit", "terminated"),
)


@dataclass(frozen=True, kw_only=True)
class ShowConfig:
    """What to look at."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Of a run (runs/compare/runs/<agent>/seed-<k>), or of a comparison, to list its runs."""
    visit: int | None = None
    """Id of a visit (column visit_id of the log): its slate, the chances of it, and what came of it."""
    reader: int | None = None
    """Id of a reader: all visits from the first to the last."""


def show(config: ShowConfig) -> list[Any]:
    """What there is to print: texts and rich tables.

    Raises:
        ValueError: no run's folder, no log, an unknown visit or reader.
    """
    require(config.folder.is_dir(), "folder", str(config.folder), "a folder that exists")
    require(config.visit is None or config.reader is None, "reader", config.reader, "not given together with visit")
    folders = run_folders(config.folder)
    allowed = "a run's folder, such as runs/compare/runs/recent-1a2b3c4d5e/seed-0"
    require(bool(folders), "folder", str(config.folder), allowed)
    if folders != [config.folder]:
        one = config.visit is None and config.reader is None
        require(one, "folder", str(config.folder), f"one run's folder, such as {folders[0]}")
        return _runs(folders)
    log = RunLog(config.folder)
    if config.visit is not None:
        return _visit(log, config.visit)
    return _summary(log) if config.reader is None else _life(log, config.reader)


def _runs(folders: Sequence[Path]) -> list[Any]:
    table = _table("agent", "seed", "state", "folder")
    for folder in folders:
        log = RunLog(folder)
        state = "finished" if log.is_finished else "not finished"
        table.add_row(log.settings["agent"], str(log.settings["seed"]), state, str(folder))
    return [table, f"Name one of them: feedgym show {folders[0]}"]


# ---- a run ----
def _summary(log: RunLog) -> list[Any]:
    settings, visit_id, reader_id = log.settings, log.column("visit_id"), log.column("reader_id")
    clicked = log.column("clicked")
    starts = np.flatnonzero(log.column("position") == 0)
    left = int(np.count_nonzero(log.column("terminated")[starts]))
    reward = log.column("reward").sum(dtype=np.float64) + _subscription(log) * np.count_nonzero(
        log.column("subscribed")[starts]
    )
    days = len(log.parts) if not log.is_finished else settings["days"]
    clicks = np.add.reduceat(clicked, starts, dtype=np.int64) if len(starts) else np.zeros(0, dtype=np.int64)
    readers, visits = np.unique(reader_id[starts], return_counts=True)
    lines = [
        f"{settings['agent']}, seed {settings['seed']}, world {settings['world']}: {_state(log)}",
        f"{len(starts):,} visits of {len(readers):,} readers ({settings['readers']:,} at hour 0), "
        f"{len(visit_id):,} impressions, {int(clicked.sum()):,} clicks; {left:,} readers left for good",
        f"reward {reward / (settings['readers'] * days):.3f} per reader per day",
    ]
    if len(starts):
        best = starts[np.argsort(-clicks, kind="stable")[:3]]
        lines.append(f"visits to try, with most clicks: --visit {', '.join(str(visit_id[i]) for i in best)}")
        most = readers[np.argsort(-visits, kind="stable")[:3]]
        lines.append(f"readers to try, with most visits: --reader {', '.join(map(str, most))}")
    return ["\n".join(lines)]


def _state(log: RunLog) -> str:
    if log.is_finished:
        return f"finished, {log.settings['days']:g} days"
    return f"not finished, {len(log.parts)} of {log.settings['days']:g} days in the log"


# ---- a visit ----
def _visit(log: RunLog, visit_id: int) -> list[Any]:
    rows = log.rows("visit_id", visit_id, VISIT).to_pydict()
    if not rows["visit_id"]:
        ids = log.column("visit_id")
        few = ", ".join(str(ids[int(share * (len(ids) - 1))]) for share in (0, 0.5, 1)) if len(ids) else "none"
        allowed = f"a visit of this log; they are between {ids.min(initial=2**62)} and {ids.max(initial=0)}: {few}, ..."
        require(False, "visit", visit_id, allowed)
    first = {name: values[0] for name, values in rows.items()}
    settings = log.settings
    past = log.rows("reader_id", first["reader_id"], ("time_hours", "clicked"))
    clicks = int(np.count_nonzero(past["clicked"].to_numpy() & (past["time_hours"].to_numpy() < first["time_hours"])))
    made = first["slate_made_hours"]
    lines = [
        f"visit {visit_id}: reader {first['reader_id']}, visit number {first['visit'] + 1}, "
        f"{_when(first['time_hours'])}",
        f"history: {clicks} clicks before this visit",
        f"served by {settings['agent']}, version {first['policy_version']}"
        + (f", slate made {_when(made)}" if made != first["time_hours"] else ""),
        f"N {first['num_live']:,} live articles, M {first['shortlist_size']:,} in the shortlist, "
        f"epsilon {first['epsilon']:g}, temperature {first['temperature']:g}"
        + (", greedy: the best by logit, no chance" if first["greedy"] else "")
        + (", explored: a uniform slate" if first["explored"] else ""),
    ]
    slate = _slate(log, rows)
    joint = first["log_propensity"]
    after = ["* breaking"] if "*" in "".join(slate.columns[2].cells) else []
    after += [
        f"log propensity of the slate: {joint:.6f} (one in {np.exp(-joint):,.3g})",
        *_chances(rows, "slot_marginal", "chance of each article at its position, whatever stands above"),
        *_chances(rows, "inclusion", "chance of each anywhere on the slate"),
        f"reward {sum(rows['reward']) + _subscription(log) * first['subscribed']:.3f}"
        + ("; subscribed" if first["subscribed"] else ""),
        "afterwards: " + _afterwards(first["terminated"], first["hours_to_next_visit"]),
    ]
    return ["\n".join(lines), slate, "\n".join(after)]


def _slate(log: RunLog, rows: dict[str, list[Any]]) -> Any:
    table = _table(
        *("#", "article", "topic", "age h", "pub-\nlisher", "clickbait\nproxy", "quality\nproxy"),
        *("quality\n(latent)", "clickbait\n(latent)", "half-\nlife h\n(latent)"),
        *("logit", "slot\npropensity", "short-\nlist", "clicked", "minutes\nread"),
    )
    article = log.articles(np.array(rows["article_id"], dtype=np.int64))
    for k, article_id in enumerate(rows["article_id"]):
        if article_id < 0:
            table.add_row(str(rows["position"][k]), "nothing", *["-"] * 13)
            continue
        of = {name: values[k] for name, values in article.items()}
        topic = _number(of["topic"], ".0f") + ("*" if of["breaking"] == 1 else "")
        table.add_row(
            *(str(rows["position"][k]), str(article_id), topic),
            _number(rows["time_hours"][k] - of["published_hours"], ".1f"),
            _number(of["publisher"], ".0f"),
            *(_number(of[name], "+.2f") for name in ("clickbait_proxy", "quality_proxy", "quality", "clickbait")),
            *(_number(of["half_life_hours"], ".1f"), _number(rows["logit"][k], ".3f")),
            f"{rows['slot_propensity'][k]:.3g}",
            "yes" if rows["in_shortlist"][k] else "no",
            "yes" if rows["clicked"][k] else "",
            f"{rows['dwell_minutes'][k]:.2f}" if rows["clicked"][k] else "",
        )
    return table


def _chances(rows: dict[str, list[Any]], name: str, what: str) -> list[str]:
    """A line with a chance for each position; none where the log does not know them."""
    values = rows[name]
    return [] if None in values else [f"{what}: {', '.join(f'{value:.3g}' for value in values)}"]


# ---- a reader ----
def _life(log: RunLog, reader_id: int) -> list[Any]:
    rows = log.rows("reader_id", reader_id, LIFE)
    if rows.num_rows == 0:
        first = log.settings["readers"]
        allowed = f"0 to {first - 1}, the readers of hour 0, or a newcomer who came"
        require(0 <= reader_id < first, "reader", reader_id, allowed)
        return [f"reader {reader_id} has not come yet ({_state(log)})"]
    column = {name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names}
    starts = np.flatnonzero(column["position"] == 0)
    topic = log.articles(column["article_id"])["topic"]
    reward = np.add.reduceat(column["reward"].astype(np.float64), starts)
    reward += _subscription(log) * column["subscribed"][starts]
    table = _table("visit", "id", "when", "gap h", "clicks", "minutes", "reward", "topics clicked", "afterwards")
    ends = [*starts[1:], rows.num_rows]
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        of = {name: values[start:end] for name, values in column.items()}
        gap = of["time_hours"][0] - column["time_hours"][starts[number - 1]] if number else np.nan
        topics = topic[start:end][of["clicked"]]
        # Of all but the last, the next line says it.
        after = _afterwards(of["terminated"][0], of["hours_to_next_visit"][0]) if end == rows.num_rows else ""
        table.add_row(
            *(str(number + 1), str(of["visit_id"][0]), _when(of["time_hours"][0]), _number(gap, ".2f")),
            *(str(np.count_nonzero(of["clicked"])), f"{of['dwell_minutes'].sum():.2f}", f"{reward[number]:.2f}"),
            " ".join(_number(t, ".0f") for t in topics),
            ("subscribed; " if of["subscribed"][0] else "") + after,
        )
    clicks = int(np.count_nonzero(column["clicked"]))
    total = (
        f"in all: {len(starts)} visits, {rows.num_rows} impressions, {clicks} clicks, "
        f"{column['dwell_minutes'].sum():.2f} minutes read, reward {reward.sum():.2f}"
    )
    return [f"reader {reader_id} under {log.settings['agent']}, {_state(log)}", table, total]


# ---- words and numbers ----
def _subscription(log: RunLog) -> float:
    """What a subscription pays: a visit's, so it is in no impression's reward."""
    return float(log.settings["reward"]["subscription"])


def _when(hours: float) -> str:
    minutes = round(hours * 60)
    return f"day {minutes // 1440} {minutes % 1440 // 60:02d}:{minutes % 60:02d}"


def _afterwards(left: bool, hours_to_next_visit: float | None) -> str:
    if left:
        return "left for good (latent)"
    if hours_to_next_visit is None or np.isnan(hours_to_next_visit):
        return "not yet back when the run ends"
    return f"back after {hours_to_next_visit:.2f} h"


def _number(value: float | None, how: str) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:{how}}"


def _table(*titles: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in titles:
        words = title in ("agent", "state", "folder", "from", "when", "topics clicked", "afterwards")
        table.add_column(title, justify="left" if words else "right", overflow="fold")
    return table


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from rich.console import Console

    from feedgym.experiments.cli import parsed, stopping

    config = parsed(ShowConfig, args, "show", __doc__)
    with stopping("show"):
        parts = show(config)
    # In a file or a pipe nothing says how wide it may be.
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False, markup=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str))


if __name__ == "__main__":
    main()
