"""``feedgym benchmark``: speed as ratios within one run, in CPU time, medians over rounds taken in turn.

Absolute figures belong to the machine that is named with them; ratios travel better.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

# One thread: BLAS reads this when it is loaded, so it must be set before the first import of numpy. A second
# thread spins at barriers, and CPU time counts the spinning.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from feedgym.env.checks import require
from feedgym.experiments.cli import parsed, stopping
from feedgym.experiments.runs import write_bytes, write_json

SECTIONS = ("feed", "agent", "retrieval", "slates", "learning", "training", "serving", "indexes")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What to measure."""

    sections: tuple[str, ...] = SECTIONS
    """feed: the Feed alone; agent: a learning agent in the loop; retrieval: search and sampling; slates: all their
    chances too; learning: an optimiser step of each learner; training: an epoch against plain torch; serving:
    1,000 visits of each serving mode; indexes: search and refresh of each index against bare faiss."""
    rounds: int = 5
    """Measurements of each size; the median counts."""
    scale: float = 1.0
    """Below 1: smaller sizes, for a try."""
    out: Path | None = None
    """Folder for ``benchmark.md`` and ``benchmark.json``."""

    def __post_init__(self) -> None:
        """Check once."""
        for section in self.sections:
            require(section in SECTIONS, "sections", section, f"of {', '.join(SECTIONS)}")
        require(self.rounds >= 1, "rounds", self.rounds, ">= 1")
        require(0.0 < self.scale <= 1.0, "scale", self.scale, "in (0, 1]")


@dataclass(frozen=True)
class Benchmark:
    """All tables as text, and all figures."""

    text: str
    figures: dict[str, list[dict[str, Any]]]


def run(config: BenchmarkConfig) -> Benchmark:
    """Measure, and write the tables down."""
    parts, figures = [_machine()], dict[str, list[dict[str, Any]]]()
    made = {
        "feed": _feed,
        "agent": _agent,
        "retrieval": _retrieval,
        "slates": _slates,
        "learning": _learning,
        "training": _training,
        "serving": _serving,
        "indexes": _indexes,
    }
    for section in config.sections:
        text, rows = made[section](config)
        parts.append(text)
        figures[section] = [asdict(row) for row in rows]
    result = Benchmark("\n\n".join(parts) + "\n", figures)
    if config.out is not None:
        write_bytes(config.out / "benchmark.md", result.text.encode())
        write_json(config.out / "benchmark.json", figures)
    return result


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "torch", "faiss-cpu"))
    return f"One thread, CPU time, Python {platform.python_version()}, {versions}, {_cpu_name()}."


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers stand on the right."""
    lines = [f"| {' | '.join(header)} |", "| --- |" + " ---: |" * (len(header) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _feed(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.feed import feed_cases, measure

    figures = measure(feed_cases(config.scale), config.rounds)
    rows = [
        (
            f.case.world,
            f"{f.case.readers:,}",
            f"{f.live:,.0f}",
            f"{f.case.arrivals:.0f}",
            f"{f.case.tick_hours:.4g}",
            f"{f.visits_per_tick:,.0f}",
            f"{f.visits_per_second:,.0f}",
            f"{f.microseconds_per_visit:.2f}",
            f"{f.first_ratio:.2f}",
            f"{f.floor_ratio:.1f}",
            f"{f.microseconds_per_visit * f.visits_per_tick / 1000:.2f}",
            f"{f.bytes_per_reader:,.0f}",
        )
        for f in figures
    ]
    header = (
        "world",
        "readers",
        "live",
        "published per tick",
        "tick h",
        "visits per tick",
        "visits per CPU-second",
        "µs per visit",
        "to first row",
        "to bare numpy",
        "ms per tick",
        "bytes per reader",
    )
    return "## The Feed alone, random slates of 10\n\n" + table(header, rows), figures


def _agent(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.agent import measure

    s = config.scale
    figures = [
        measure("P = 20k", max(200, round(20_000 * s)), None, max(0.5, 2 * s)),
        measure("P = 20k, 10k live", max(200, round(20_000 * s)), max(500, round(10_000 * s)), max(0.5, 2 * s)),
        measure("the demo's size", max(200, round(3_000 * s)), None, max(0.5, 14 * s)),
    ]
    rows = [
        (f.what, f"{f.readers:,}", f"{f.live:,}", f"{f.visits_per_tick:,.0f}", f"{f.visits_per_second:,.0f}")
        for f in figures
    ]
    head = table(("`regression` in the loop", "readers", "live", "visits per tick", "visits per CPU-second"), rows)
    parts = list(dict.fromkeys(part for f in figures for part in f.shares))
    shares = [(part, *(f"{100 * f.shares.get(part, 0.0):.0f} %" for f in figures)) for part in parts]
    where = table(("where the CPU time goes", *(f.what for f in figures)), shares)
    return f"## An agent in the loop, learning on, tick 0.25 h\n\n{head}\n\n{where}", figures


def _retrieval(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.retrieval import measure

    sizes = [max(200, round(n * config.scale)) for n in (1_000, 10_000, 100_000)]
    figures = [
        measure(live, batch, config.rounds, seconds_each=0.05 * config.scale)
        for live in sizes
        for batch in (1, 64, 1024)
    ]
    rows = [
        (
            f"{f.live:,}",
            f"{f.batch:,}",
            f"{f.faiss_ms:.3f}",
            *(f"{ratio:.2f}" for ratio in (f.ours, f.no_blas, f.numpy, f.sampling)),
        )
        for f in figures
    ]
    header = ("live", "queries", "faiss ms", "slot array", "faiss without BLAS", "numpy", "sampling slates")
    title = "## Retrieval of 100 from d = 66: CPU time over that of `faiss.knn` through BLAS"
    return f"{title}\n\n{table(header, rows)}", figures


def _slates(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.slates import SHORTLIST, SLATE_SIZE, measure

    live, batch = max(200, round(10_000 * config.scale)), max(16, round(1024 * config.scale))
    figures = [
        measure(live, size, spread, config.rounds)
        for size in (batch, max(1, batch // 16))
        for spread in (1.5, 4.0, 8.0)
    ]
    rows = [
        (
            f"{f.live:,}",
            f"{f.batch:,}",
            f.logit_sd,
            f"{f.retrieval_ms:.2f}",
            f"{f.sampling:.2f}",
            f"{f.with_marginals:.2f}",
        )
        for f in figures
    ]
    header = ("live", "visits", "logit sd", "retrieval ms", "sampling, propensities", "and marginals, inclusion, t*")
    title = f"## Slates of {SLATE_SIZE} from shortlists of {SHORTLIST}: CPU time over that of the retrieval (d = 64)"
    return f"{title}\n\n{table(header, rows)}", figures


def _learning(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.learning import REFERENCE, measure

    batches = sorted({max(16, round(size * config.scale)) for size in (256, 1024)})
    readers, hours = max(100, round(2000 * config.scale)), max(12.0, 60.0 * config.scale)
    figures = [figure for batch in batches for figure in measure(batch, config.rounds, readers, hours)]
    rows = [(f.learner, f"{f.batch:,}", f"{f.step_ms:.2f}", f"{f.ratio:.2f}") for f in figures]
    header = ("learner", "batch", "step ms", "ratio")
    title = f"## An optimiser step: CPU time over that of `{REFERENCE}` (the demo's towers)"
    return f"{title}\n\n{table(header, rows)}", figures


def _training(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.training import READERS, VISITS, measure

    s = config.scale
    batch, visits, readers = max(16, round(1024 * s)), max(500, round(VISITS * s)), max(100, round(READERS * s))
    models = (((64,), 16), ((1024, 512, 256), 64))
    figures = [measure(widths, dim, batch, config.rounds, visits, readers) for widths, dim in models]
    names = ["-".join(map(str, f.widths)) + f", d = {f.dim}" for f in figures]
    rows = [
        (
            name,
            f"{f.impressions:,}",
            f"{f.batch:,}",
            f"{f.steps:,}",
            f"{f.step_ms:.2f}",
            f"{f.plain_ms:.2f}",
            f"{f.ratio:.2f}",
            f"{100 * f.kernels:.0f} %",
        )
        for name, f in zip(names, figures, strict=True)
    ]
    header = (
        *("towers", "impressions", "clicks in a batch", "steps of an epoch", "step ms", "plain torch ms", "ratio"),
        "in torch's kernels",
    )
    where = table(
        ("where a step's time goes", *names),
        [(part, *(f"{100 * f.parts[part]:.0f} %" for f in figures)) for part in figures[0].parts],
    )
    title = "## An epoch of in-batch softmax: CPU time over that of the same model in plain torch"
    return f"{title}\n\n{table(header, rows)}\n\n{where}", figures


def _serving(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.serving import HEADER, SIZES, cells, measure_modes

    sizes = sorted({max(30, round(readers * config.scale)) for readers in SIZES})
    figures = measure_modes(config.rounds, sizes)
    title = "## Serving 1,000 visits: CPU time over that of real time, and counts"
    return f"{title}\n\n{table(HEADER, [cells(found) for found in figures])}", figures


def _indexes(config: BenchmarkConfig) -> tuple[str, Sequence[Any]]:
    from feedgym.experiments.benchmarks.index_tables import indexes

    return indexes(config.scale, config.rounds)


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    config = parsed(BenchmarkConfig, args, "benchmark", __doc__)
    with stopping("benchmark"):
        print(run(config).text, end="")


if __name__ == "__main__":
    main()
