"""Public logs of news sites in the layout of a site's own log, so that their facts are measured like a simulation's.

``python -m feedgym.experiments.studies.worlds.public_logs --data FOLDER --out FOLDER`` writes a folder for each
set that is there; then ``log_facts``. The sets, as gzip CSV with a header and ISO times:

- ``news_slates_3bij3/slates.csv.gz``: field experiment 3bij3 (doi 10.1145/3447535.3462506): slates of 9, one click in
  each; only the arm whose order was random says what a position does. No ids of articles, so every row is one.
- ``ebnerd_sample/clicks.csv.gz``, ``impressions.csv.gz``, ``articles.csv.gz``: sample of EB-NeRD: clicks with
  read times; and what was *in view*, in no order. An article's age is a lower bound (first sight of an
  id at least as large).
- ``deskdrop/events.csv.gz``: reading on a company's platform; clicks only.

Hours count from the Monday before the set's first row: hours of the day stay what they are.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.env.log import ARTICLES_NAME, write_table

Columns = dict[str, Any]
_HOUR = timedelta(hours=1)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def _monday(text: str) -> datetime:
    """Midnight of the Monday of a moment's week."""
    moment = datetime.fromisoformat(text)
    return datetime(moment.year, moment.month, moment.day) - timedelta(days=moment.weekday())


def _hours(texts: Sequence[str], since: datetime) -> Doubles:
    return np.array([(datetime.fromisoformat(text) - since) / _HOUR for text in texts])


def _ints(rows: list[dict[str, str]], name: str) -> Any:
    return np.array([int(row[name]) for row in rows])


def slates_3bij3(folder: Path) -> tuple[Columns, Columns]:
    """All arms; the position is left out where the order was not random."""
    rows = _rows(folder / "slates.csv.gz")
    since = _monday(min(row["timestamp"] for row in rows))
    random = np.array([row["group"] == "random" for row in rows])
    slate = np.unique([f"{row['user_id']}/{row['slate_id']}" for row in rows], return_inverse=True)[1]
    return {
        "time_hours": _hours([row["timestamp"] for row in rows], since),
        "reader_id": _ints(rows, "user_id"),
        "slate_id": slate,
        "session": _ints(rows, "session"),
        "article_id": np.arange(len(rows)),
        "position": np.where(random, _ints(rows, "position"), -1),
        "device": [row["device"] for row in rows],
        "clicked": _ints(rows, "clicked") == 1,
    }, {}


def ebnerd_clicks(folder: Path) -> tuple[Columns, Columns]:
    """21 days of clicks with their read times."""
    rows = _rows(folder / "clicks.csv.gz")
    articles = _rows(folder / "articles.csv.gz")
    since = _monday(min(row["timestamp"] for row in rows))
    seconds = [float(row["read_time_s"] or 0.0) for row in rows]
    return {
        "time_hours": _hours([row["timestamp"] for row in rows], since),
        "reader_id": _ints(rows, "user_id"),
        "slate_id": np.arange(len(rows)),
        "article_id": _ints(rows, "article_id"),
        "clicked": np.ones(len(rows), dtype=np.bool_),
        "dwell_minutes": np.array(seconds) / 60.0,
    }, _published(articles, since)


def ebnerd_in_view(folder: Path) -> tuple[Columns, Columns]:
    """The week after: what was in view on each page, with a click in each."""
    pages = _rows(folder / "impressions.csv.gz")
    since = _monday(min(row["timestamp"] for row in pages))
    seen = [row["inview"].split() for row in pages]
    clicked = [set(row["clicked"].split()) for row in pages]
    page = np.repeat(np.arange(len(pages)), [len(ids) for ids in seen])
    hits = np.array([name in clicked[at] for at, ids in enumerate(seen) for name in ids])
    seconds = np.array([float(row["next_read_time_s"] or 0.0) for row in pages])
    return {
        "time_hours": _hours([row["timestamp"] for row in pages], since)[page],
        "reader_id": _ints(pages, "user_id")[page],
        "slate_id": page,
        "session": _ints(pages, "session_id")[page],
        "article_id": np.array([int(name) for ids in seen for name in ids]),
        "clicked": hits,
        "dwell_minutes": np.where(hits, seconds[page], 0.0) / 60.0,
    }, _published(_rows(folder / "articles.csv.gz"), since)


def deskdrop(folder: Path) -> tuple[Columns, Columns]:
    """Views of articles."""
    rows = [row for row in _rows(folder / "events.csv.gz") if row["event"] == "VIEW"]
    since = _monday(min(row["timestamp"] for row in rows))
    return {
        "time_hours": _hours([row["timestamp"] for row in rows], since),
        "reader_id": _ints(rows, "user_id"),
        "slate_id": np.arange(len(rows)),
        "session": _ints(rows, "session_id"),
        "article_id": _ints(rows, "article_id"),
        "clicked": np.ones(len(rows), dtype=np.bool_),
    }, {}


def _published(articles: list[dict[str, str]], since: datetime) -> Columns:
    """Without the articles of the set's first day, whose age is not known."""
    first = min(row["published_at"] for row in articles)[:10]
    known = [row for row in articles if row["published_at"][:10] > first]
    return {
        "article_id": _ints(known, "article_id"),
        "published_hours": _hours([row["published_at"] for row in known], since),
    }


SETS: dict[str, tuple[str, Callable[[Path], tuple[Columns, Columns]]]] = {
    "3bij3": ("news_slates_3bij3", slates_3bij3),
    "ebnerd-clicks": ("ebnerd_sample", ebnerd_clicks),
    "ebnerd-in-view": ("ebnerd_sample", ebnerd_in_view),
    "deskdrop": ("deskdrop", deskdrop),
}
"""Name of a log -> folder of its set, and what reads it: columns of impressions, and of articles if there are any."""


def write_public_logs(data: Path, out: Path) -> list[Path]:
    """Write the logs of all sets below ``data`` to folders of their names below ``out``."""
    import pyarrow as pa

    written = []
    for name, (folder, columns) in SETS.items():
        if not (data / folder).is_dir():
            continue
        impressions, articles = columns(data / folder)
        (out / name).mkdir(parents=True, exist_ok=True)
        order = np.argsort(impressions["time_hours"], kind="stable")
        write_table(out / name / "impressions.parquet", pa.table(impressions).take(order))
        if articles:
            write_table(out / name / ARTICLES_NAME, pa.table(articles))
        written.append(out / name)
    require(bool(written), "data", str(data), f"a folder with one of {sorted({at for at, _ in SETS.values()})}")
    return written


@dataclass(frozen=True, kw_only=True)
class PublicLogsConfig:
    """From where, to where."""

    data: Path
    """Folder of the sets."""
    out: Path = Path("runs/public_logs")
    """A folder below for each log."""


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(PublicLogsConfig, args, "public-logs", __doc__)
    with stopping("public-logs"):
        print("\n".join(map(str, write_public_logs(config.data, config.out))))


if __name__ == "__main__":
    main()
