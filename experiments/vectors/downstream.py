"""A worked example: a run's vectors as features of another click model, and what they add.

``python -m feedgym.experiments.vectors.downstream --run FOLDER``, with the extra ``downstream``. The model is
scikit-learn's logistic regression on what a site has without them (``click_columns``), from position, age and topic up
to columns made by hand; the question is what ``u * v`` and the item bias add to each on later days.

No row sees the future. The run is lived through again from its settings, byte for byte, and its vectors are exported
every hour, as ``feedgym embed`` does at the end; an impression gets those of the last export before it. The end's
vectors would know the clicks that are to be predicted; those of one early moment would not know the articles of the
days after. The first days, when the towers know little, are left out; the last are held out.

A control gets another reader's u: what it loses is what the vectors know of the reader herself.
Shapes: R rows (impressions), n visits of a tick, K positions, d dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Bools, Floats
from feedgym.env.checks import require
from feedgym.env.log import ARTICLES_NAME, IMPRESSIONS, read_impressions
from feedgym.experiments.runs import RunConfig
from feedgym.experiments.vectors.click_columns import ARTICLES, LOG, site_columns
from feedgym.experiments.vectors.click_model import (
    Difference,
    Evaluated,
    Measures,
    check_installed,
    fit,
    paired_bootstrap,
)
from feedgym.experiments.vectors.embed import load_embeddings
from feedgym.experiments.vectors.exports import Exported, replay, run_config_of


@dataclass(frozen=True, kw_only=True)
class DownstreamConfig:
    """Which run, and which of its days for what."""

    run: Path
    """Folder of a finished run of an agent with towers, with its log."""
    warm_days: float = 2.0
    """First days, left out: the towers know little yet."""
    test_days: float = 2.0
    """Last days, held out; the model is fitted on those between."""
    export_every_hours: float = 1.0
    """Simulated hours between two exports of vectors."""
    new_below: int = 20
    """An article is new as long as it was shown fewer times."""
    l2: float = 1.0
    """Penalty of the logistic regression."""
    resamples: int = 1000
    """Of readers, for the intervals."""
    seed: int = 0
    """Of the resamples, and of who gets whose vector in the control."""

    def __post_init__(self) -> None:
        """Check what can be checked without reading files."""
        require(self.warm_days >= 0, "warm_days", self.warm_days, ">= 0")
        require(self.test_days > 0, "test_days", self.test_days, "> 0")
        require(self.export_every_hours > 0, "export_every_hours", self.export_every_hours, "> 0 (hours)")
        require(self.new_below >= 1, "new_below", self.new_below, ">= 1")
        require(self.l2 > 0, "l2", self.l2, "> 0")
        require(self.resamples >= 1, "resamples", self.resamples, ">= 1")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What vectors add to one set of columns; differences in log loss and AUC, so a gain is below and above 0."""

    without: Measures
    """The site's columns alone."""
    gain: Difference
    """With vectors, less without."""
    gain_new: Difference
    """The same on articles shown fewer than ``new_below`` times so far."""
    personal: Difference
    """With vectors, less with another reader's u."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What the vectors add."""

    rows_fitted: int
    rows_tested: int
    readers_tested: int
    new: float
    """Share of the tested rows whose article was new."""
    covered: float
    """Share of the tested rows whose article and reader both had a vector."""
    click_rate: float
    """Of the tested rows."""
    steps: dict[str, Step]
    """By what the site's columns are, each with those before it."""


def run(config: DownstreamConfig) -> Result:
    """Fit on the middle days, test on the last.

    Raises:
        ValueError: no finished run of an agent with towers, no log, or too few days.
        RuntimeError: scikit-learn is not installed.
    """
    check_installed()
    settings, _ = load_embeddings(config.run)
    require(settings["log"], "run", str(config.run), "a run with a log: not one of --no-log")
    start, end = 24.0 * config.warm_days, 24.0 * (settings["days"] - config.test_days)
    require(start < end, "warm_days", config.warm_days, f"less than {end / 24.0:g}, where the held-out days begin")
    log, exported = _rows(config.run, run_config_of(settings), config)
    site, time = site_columns(log, _articles(config.run)), log["time_hours"]
    split = _Split((time >= start) & (time < end), time >= end, site.article_shown < config.new_below)
    columns = {
        "position, age, topic": site.plain,
        "+ counters": np.hstack([site.plain, site.counters]),
        "+ columns by hand": np.hstack([site.plain, site.counters, site.by_hand]),
    }
    tested = split.tested
    return Result(
        rows_fitted=int(np.count_nonzero(split.fitted)),
        rows_tested=int(np.count_nonzero(tested)),
        readers_tested=len(np.unique(log["reader_id"][tested])),
        new=float(split.new[tested].mean()),
        covered=float(exported.rest[tested, 1:].all(axis=1).mean()),
        click_rate=float(log["clicked"][tested].mean()),
        steps={name: _step(base, exported, log, split, config) for name, base in columns.items()},
    )


class _Split(NamedTuple):
    """Which rows are for what, bool (R,) each."""

    fitted: Bools
    tested: Bools
    new: Bools


def _step(base: Floats, exported: Exported, log: Arrays, split: _Split, config: DownstreamConfig) -> Step:
    """Three models on the same rows: without vectors, with them, and with another reader's."""
    clicked, reader, tested = log["clicked"], log["reader_id"], split.tested
    designs = (
        base,
        np.hstack([base, exported.rest, exported.product]),
        np.hstack([base, exported.rest, exported.other]),
    )
    odds = [
        fit(x[split.fitted], clicked[split.fitted], config.l2).decision_function(x)
        for x in (design.astype(np.float64) for design in designs)
    ]

    def less(one: int, other: int, rows: Bools) -> Difference:
        a, b = (Evaluated(odds[index][rows], clicked[rows]) for index in (one, other))
        return paired_bootstrap(a, b, reader[rows], resamples=config.resamples, seed=config.seed)

    return Step(
        without=Evaluated(odds[0][tested], clicked[tested]).measure(),
        gain=less(1, 0, tested),
        gain_new=less(1, 0, tested & split.new),
        personal=less(1, 2, tested),
    )


def _rows(folder: Path, config: RunConfig, settings: DownstreamConfig) -> tuple[Arrays, Exported]:
    """Log and exported columns of all impressions that showed an article."""
    table = read_impressions(folder / IMPRESSIONS, columns=LOG)
    log: Arrays = {name: table[name].to_numpy() for name in LOG}
    served, exported = replay(config, settings.export_every_hours, settings.seed)
    same = np.array_equal(served, log["article_id"])
    require(same, "run", str(folder), "a run of this version: lived through again it serves other articles")
    shown = served >= 0
    return {name: values[shown] for name, values in log.items()}, Exported(*(part[shown] for part in exported))


def _articles(folder: Path) -> dict[str, AnyArray]:
    import pyarrow.parquet as pq

    table = pq.read_table(folder / ARTICLES_NAME, columns=list(ARTICLES))
    return {name: table[name].to_numpy() for name in ARTICLES}


def result_text(result: Result) -> str:
    """Tables for people."""
    head = (
        f"fitted on {result.rows_fitted:,} impressions, tested on {result.rows_tested:,} later ones of "
        f"{result.readers_tested:,} readers: {100 * result.click_rate:.1f} % clicked, "
        f"{100 * result.covered:.1f} % with both vectors, {100 * result.new:.1f} % of new articles"
    )
    lines = [head]
    for measure, digits in (("log_loss", 5), ("auc", 4)):
        lines += ["", f"| {measure.replace('_', ' ')} | without | what vectors add [95 %] | new articles | personal |"]
        lines += ["| --- | ---: | --- | --- | --- |"]
        for name, step in result.steps.items():
            cells = [_interval(d, measure, digits) for d in (step.gain, step.gain_new, step.personal)]
            lines += [f"| {name} | {getattr(step.without, measure):.{digits}f} | {' | '.join(cells)} |"]
    return "\n".join(lines)


def _interval(difference: Difference, measure: str, digits: int) -> str:
    value, low, high = (getattr(m, measure) for m in (difference.value, difference.low, difference.high))
    return f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(DownstreamConfig, args, "downstream", __doc__)
    with stopping("downstream"):
        print(result_text(run(config)))


if __name__ == "__main__":
    main()
