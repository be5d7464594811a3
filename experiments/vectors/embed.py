"""Vectors out of a run: ``feedgym embed --run FOLDER`` writes those of articles and readers as Parquet.

They are what the run's towers knew at its end: features for other models, or points to look at: beside the tables
stands a folder for TensorBoard's projector. Columns: docs/guide/embeddings.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from feedgym.env.arrays import Arrays, unnest
from feedgym.env.checks import require
from feedgym.experiments.runs import EMBEDDINGS, RunLog, load_arrays, run_folders
from feedgym.experiments.vectors.projector import write_projector

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Whose vectors, and where to."""

    run: Path
    """Folder of a finished run (runs/compare/runs/<agent>/seed-<k>) of an agent with towers."""
    out: Path | None = None
    """Folder for what is written; ``embeddings`` in the run's folder if not given."""
    which: Literal["all", "live"] = "all"
    """Articles: all that the agent still embeds, or those live at the run's end. Readers are the same either way."""
    format: Literal["parquet"] = "parquet"
    """Of the tables."""

    def __post_init__(self) -> None:
        """Check what can be checked without reading files."""
        require(self.which in ("all", "live"), "which", self.which, "'all' or 'live'")
        require(self.format == "parquet", "format", self.format, "'parquet'")


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What was written."""

    articles: Path
    """Table of articles."""
    readers: Path
    """Table of readers."""
    projector: Path
    """Folder to point ``tensorboard --logdir`` at."""
    num_articles: int
    num_readers: int
    dim: int
    """Width of a vector."""


def embed(config: EmbedConfig) -> Embedded:
    """Write the tables and the projector's folder.

    Raises:
        ValueError: no finished run's folder, or a run of an agent without towers.
    """
    settings, arrays = load_embeddings(config.run)
    article, reader = unnest("article", arrays), unnest("reader", arrays)
    if config.which == "live":
        live = article["is_live"]
        article = {name: column[live] for name, column in article.items()}
    out = config.run / "embeddings" if config.out is None else config.out
    written = Embedded(
        articles=out / "articles.parquet",
        readers=out / "readers.parquet",
        projector=out / "projector",
        num_articles=len(article["bias"]),
        num_readers=len(reader["reader_id"]),
        dim=article["vector"].shape[1],
    )
    _write(written.articles, article, settings)
    _write(written.readers, reader, settings)
    tensors = {name: (part["vector"], _labels(part)) for name, part in (("articles", article), ("readers", reader))}
    write_projector(written.projector, tensors)
    return written


def load_embeddings(folder: Path) -> tuple[dict[str, Any], Arrays]:
    """Settings of a finished run and what it keeps of its agent's towers, see ``embeddings_of``.

    Raises:
        ValueError: no run's folder, a run that is not finished, or one of an agent without towers.
    """
    require(folder.is_dir(), "run", str(folder), "a folder that exists")
    folders = run_folders(folder)
    require(bool(folders), "run", str(folder), "a run's folder, such as runs/compare/runs/regression-1a2b3c4d5e/seed-0")
    require(folders == [folder], "run", str(folder), f"one run's folder, such as {folders[0]}")
    log = RunLog(folder)
    path, agent = folder / EMBEDDINGS, log.settings["agent"]
    if not path.exists():
        names = ", ".join(_agents_with_towers())
        require(_has_towers(agent), "run", str(folder), f"an agent with towers ({names}); this is one of {agent}")
        require(log.is_finished, "run", str(folder), "a finished run: the command that started it goes on with it")
        require(False, "run", str(folder), f"a run that kept {EMBEDDINGS}: this is an older one, to be run again")
    return log.settings, load_arrays(path)


def _agents_with_towers() -> list[str]:
    from feedgym.agents.registry import KINDS

    return [name for name, kind in KINDS.items() if kind.learns]


def _has_towers(agent: str) -> bool:
    from feedgym.agents.registry import parse_agent

    return parse_agent(agent).learns


def _write(path: Path, columns: Arrays, settings: dict[str, Any]) -> None:
    from feedgym.env.log import metadata_of, write_table

    table = as_table(columns).replace_schema_metadata(metadata_of(settings))
    # Vectors repeat nothing: a dictionary of them would be the column over again.
    write_table(path, table, dictionary=False)


def as_table(columns: Arrays) -> "pa.Table":
    """Arrow table of columns (n,) and of vectors (n, d), these as lists of fixed size."""
    import pyarrow as pa

    def column(values: Any) -> Any:
        if values.ndim == 1:
            return pa.array(values)
        return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1])

    return pa.table({name: column(values) for name, values in columns.items()})


def _labels(part: Arrays) -> Arrays:
    """What the projector can colour and search by."""
    return {name: column for name, column in part.items() if column.ndim == 1}


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(EmbedConfig, args, "embed", __doc__)
    with stopping("embed"):
        written = embed(config)
    print(f"{written.num_articles:,} articles, {written.num_readers:,} readers, {written.dim} dimensions:")
    print(f"{written.articles}\n{written.readers}")
    print(f"To look at them: tensorboard --logdir {written.projector}")


if __name__ == "__main__":
    main()
