"""A log for other people's learners: ``feedgym export --log FOLDER`` writes a Minari dataset (docs/guide/offline.md).

An episode is one reader, a step is one visit, as in ``FeedGym/NewsFeed-v0``. Needs the extra ``[export]``.
For Open Bandit Pipeline see ``open_bandit_feedback``.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feedgym.env.arrays import Ints
from feedgym.env.checks import require

if TYPE_CHECKING:
    from feedgym.agents.logged import LoggedSite
    from feedgym.experiments.logs import Episode

_ROOT = "MINARI_DATASETS_PATH"


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which log, and where to."""

    log: Path
    """Folder of a log (``feedgym log``, or any run), or a Parquet file with ``articles.parquet`` beside it."""
    dataset_id: str = "feedgym/news-v0"
    """Minari's name of the dataset, such as ``feedgym/popular-v0``."""
    root: Path | None = None
    """Folder of Minari's datasets; if not given that of MINARI_DATASETS_PATH, else Minari's own."""
    readers: int | None = None
    """The first so many readers of those who came; all of them if not given."""

    def __post_init__(self) -> None:
        """Check what can be checked without reading files."""
        require(self.readers is None or self.readers >= 1, "readers", self.readers, ">= 1, or not given")


def readers_who_left(site: "LoggedSite") -> Ints:
    """Ids of the readers who left for good, rising, as a simulator's log says; none of a site's own."""
    import pyarrow.parquet as pq

    found: list[Ints] = [np.zeros(0, dtype=np.int64)]
    if site.log.is_own:
        for part in site.log.parts:
            table = pq.read_table(part, columns=["reader_id", "terminated"])
            found.append(table["reader_id"].to_numpy()[table["terminated"].to_numpy()])
    return np.unique(np.concatenate(found))


def opened(log: Path) -> "LoggedSite":
    """The log as a site; with as many topics as the world had that its settings name, where they name one."""
    from feedgym.agents.logged import LoggedSite
    from feedgym.env.log import LogReader
    from feedgym.experiments.logs import simulated_run
    from feedgym.experiments.runs import make_drive

    try:
        sizes = make_drive(simulated_run(LogReader(log).config, reuse=True)).feed.catalogue.category_sizes
    except ValueError:
        sizes = (1, 1, 1)
    return LoggedSite(log, category_sizes=sizes)


def export(config: ExportConfig) -> Any:
    """Write the dataset.

    Returns:
        The ``minari.MinariDataset``.

    Raises:
        RuntimeError: Minari is not installed.
        ValueError: whatever is wrong in the log; a dataset of this name that exists.
    """
    from feedgym.experiments.logs import episodes_of, steps_of

    _minari()
    site = opened(config.log)
    left = readers_who_left(site)
    steps = steps_of(site)
    episodes = episodes_of(steps, left, config.readers)
    highest = int(site.newsroom.original_id.max(initial=0))
    with _datasets_in(config.root):
        return write_minari(
            episodes,
            config.dataset_id,
            names=steps.names,
            highest_id=highest,
            policy=str((site.log.config or {}).get("agent", "a site's own log")),
        )


def write_minari(
    episodes: "Sequence[Episode]",
    dataset_id: str,
    *,
    names: Sequence[str],
    highest_id: int,
    policy: str,
) -> Any:
    """Episodes as a Minari dataset (Farama Foundation; checked against 0.5.4), in Minari's folder of datasets.

    Args:
        episodes: at least one.
        dataset_id: Minari's name of it.
        names: of the columns of observations, kept in the description.
        highest_id: of the articles; bounds the space of actions.
        policy: who served, kept as the algorithm's name.

    Returns:
        The ``minari.MinariDataset``.
    """
    from gymnasium import spaces

    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    require(len(episodes) > 0, "episodes", 0, "at least one")
    first = episodes[0]
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=e.observations,
            actions=e.actions,
            rewards=e.rewards,
            terminations=e.terminations,
            truncations=e.truncations,
            infos=e.infos | {"reader_id": np.full(len(e.observations), e.reader_id)},
        )
        for number, e in enumerate(episodes)
    ]
    with warnings.catch_warnings():
        # It asks for an author and a link to the code, which a log has not.
        warnings.filterwarnings("ignore", category=UserWarning, module="minari")
        return minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            observation_space=spaces.Box(-np.inf, np.inf, first.observations.shape[1:], np.float32),
            action_space=spaces.Box(-1, highest_id, first.actions.shape[1:], np.int64),
            algorithm_name=policy,
            description=f"A log of FeedGym: an episode a reader, a step a visit. Observations: {', '.join(names)}.",
            # Of its formats the one that keeps all infos (0.5.4 cannot read single numbers back from Arrow).
            data_format="hdf5",
        )


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise RuntimeError("minari: not installed; needs the extra: pip install 'feedgym[export]'") from error
    return minari


@contextlib.contextmanager
def _datasets_in(root: Path | None) -> Iterator[None]:
    """Minari reads the folder of its datasets from the environment, and from nowhere else."""
    before = os.environ.get(_ROOT)
    if root is not None:
        os.environ[_ROOT] = str(root)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_ROOT] = before
        elif root is not None:
            del os.environ[_ROOT]


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(ExportConfig, args, "export", __doc__)
    with stopping("export"):
        dataset = export(config)
    print(f"{config.dataset_id}: {dataset.total_episodes:,} episodes, {dataset.total_steps:,} steps.")
    print(f'In Python: minari.load_dataset("{config.dataset_id}")')


if __name__ == "__main__":
    main()
