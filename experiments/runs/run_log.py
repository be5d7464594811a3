"""Looking up visits and readers in a run's folder, finished or not, without reading all of its log.

Ids are looked for in one column; only the rows found are then read in full. Shapes: R rows, K positions, A articles.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Ints
from feedgym.env.checks import require
from feedgym.env.log import ARTICLES_NAME, IMPRESSIONS
from feedgym.env.newsroom import LATENT
from feedgym.experiments.runs.checkpoint import CHECKPOINT, DONE, read_json

if TYPE_CHECKING:
    import pyarrow as pa

ATTRIBUTES = (
    *("published_hours", "topic", "publisher", "clickbait_proxy", "quality_proxy", "breaking"),
    *("quality", "clickbait", "half_life_hours"),
)
"""What is shown of an article; the last three are latent."""
_IN_CHECKPOINT = "feed/catalogue/archive/"


@dataclass(frozen=True)
class RunLog:
    """The log of one run.

    Args:
        folder: of the run, such as ``runs/compare/runs/recent-1a2b3c4d5e/seed-0``.
    """

    folder: Path

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that the run was made of."""
        settings: dict[str, Any] = read_json(self.folder / "config.json")
        return settings

    @property
    def is_finished(self) -> bool:
        """Nothing will be added."""
        return (self.folder / DONE).exists()

    @cached_property
    def parts(self) -> list[Path]:
        """The part files, a simulated day each, in their order.

        Raises:
            ValueError: the run keeps no log, or has not yet finished a day.
        """
        require(self.settings.get("log", True), "folder", str(self.folder), "a run with a log: not one of --no-log")
        parts = sorted((self.folder / IMPRESSIONS).glob("*.parquet"))
        require(bool(parts), "folder", str(self.folder), "a run with a finished simulated day; this has none yet")
        return parts

    def column(self, name: str) -> AnyArray:
        """One column of the whole log, (R,)."""
        return np.concatenate([_read(part, [name])[name].to_numpy() for part in self.parts])

    def rows(self, key: str, value: int, columns: Sequence[str]) -> "pa.Table":
        """Columns of the rows whose ``key`` has this value, in the log's order; maybe none."""
        import pyarrow as pa

        found = []
        for part in self.parts:
            at = np.flatnonzero(_read(part, [key])[key].to_numpy() == value)
            if len(at) or part == self.parts[-1]:
                found.append(_read(part, columns, at))
        return pa.concat_tables(found)

    def articles(self, article_id: Ints) -> Arrays:
        """``ATTRIBUTES`` of these articles (A,), float64 (A,) each; NaN where nothing is known yet."""
        columns = self._archive()
        known = (article_id >= 0) & (article_id < len(columns["topic"]))
        rows = np.where(known, article_id, 0)
        if len(columns["topic"]) == 0:
            return {name: np.full(len(article_id), np.nan) for name in ATTRIBUTES}
        return {name: np.where(known, columns[name][rows].astype(np.float64), np.nan) for name in ATTRIBUTES}

    def _archive(self) -> Arrays:
        """From ``articles.parquet`` of a finished run, else from the last checkpoint."""
        path = self.folder / ARTICLES_NAME
        if path.exists():
            names = {name: f"latent_{name}" if name in LATENT else name for name in ATTRIBUTES}
            table = _read(path, list(names.values()))
            return {name: table[column].to_numpy() for name, column in names.items()}
        if (self.folder / CHECKPOINT).exists():
            with np.load(self.folder / CHECKPOINT, allow_pickle=False) as file:
                return {name: file[_IN_CHECKPOINT + name] for name in ATTRIBUTES}
        return {name: np.zeros(0) for name in ATTRIBUTES}


def _read(path: Path, columns: Sequence[str], at: Ints | None = None) -> "pa.Table":
    """Columns of a part file; with ``at`` only these rows (r,), rising, and no row group without one of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            if at is None:
                return file.read(columns=list(columns))
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(sizes)])
            group = np.searchsorted(starts, at, side="right") - 1
            used = np.unique(group)
            if len(used) == 0:
                return file.schema_arrow.empty_table().select(list(columns))
            # Where the groups that are read begin among each other.
            moved = np.concatenate([[0], np.cumsum(np.asarray(sizes)[used])])[:-1]
            rows = at - starts[group] + moved[np.searchsorted(used, group)]
            return file.read_row_groups(used.tolist(), columns=list(columns)).take(pa.array(rows))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: got a file that is cut short or no Parquet ({error})") from error


def run_folders(folder: Path) -> list[Path]:
    """The runs in a comparison's folder, or in one of the folders below it; a run's own folder is its only run."""
    if _is_run(folder):
        return [folder]
    found = [path for depth in ("*", "*/*", "*/*/*") for path in sorted(folder.glob(depth)) if _is_run(path)]
    return sorted(found)


def _is_run(folder: Path) -> bool:
    try:
        settings = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and {"agent", "seed", "readers"} <= settings.keys()
