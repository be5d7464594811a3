"""Study: which policy gradient learns most from a log, by the log's size (docs/mathematics.md 3.2).

Policies by popularity with a tenth of exploration wrote the logs, in ``vivid``. From the same log each estimator learns
the same plain policy (the towers are the policy) from immediate rewards, with the shipped baseline and weights capped
at e^3, and is deployed, frozen, on the days after the log. The size is that of the population: 250 readers, and sixteen
times as many. Every size takes about the same number of steps, so that what differs is what the log says.
Steps were chosen on seeds 100 to 102; all else is as it ships when the study is run. These seeds are fresh, and were
frozen with all settings before they were run.
"""

import dataclasses
from pathlib import Path

from feedgym.agents.slate_policy import PAPER_CAP
from feedgym.experiments.reports import markdown_table
from feedgym.experiments.studies.from_logs.logged_learning import Job, Learned, Sizes, job_units, run_jobs
from feedgym.experiments.studies.from_logs.logged_tables import difference_cells, mean_cells, plot_by_size
from feedgym.experiments.studies.units import Unit

SEEDS = (7600, 7601, 7602, 7603, 7604)
LOGGER = "popular:epsilon=0.1,sharpness=1.0"
ESTIMATORS = ("inclusion", "marginal", "prefix", "joint", "chen", "none")
READERS = (250, 2000)
PASSES_AT_1000 = 20.0
OTHERS = ("none", "inclusion")
"""What every estimator is compared with."""

Results = dict[tuple[str, int], dict[int, Learned]]
"""(estimator, readers) -> by seed."""


def agent(estimator: str, readers: int) -> str:
    """Who learns from the log of so many readers."""
    settings = f"mode=plain,use_future=False,estimator={estimator},weight_cap={PAPER_CAP!r}"
    return f"reinforce:{settings},passes={PASSES_AT_1000 * 1000 / readers!r}"


def jobs(out: Path) -> list[Job]:
    """A log for each seed and size, seed after seed, so that what is finished early is whole seeds."""
    return [
        Job(
            LOGGER,
            seed,
            Sizes(readers=readers),
            tuple(agent(estimator, readers) for estimator in ESTIMATORS),
            out / f"{readers}-readers-seed-{seed}",
        )
        for seed in SEEDS
        for readers in READERS
    ]


def units(out: Path) -> list[Unit]:
    """All that learn, from all logs."""
    return job_units(jobs(out))


def run(out: Path, reuse: bool = False) -> str:
    """The results, their tables, and the picture by size."""
    results: Results = {}
    for job, learned in run_jobs([dataclasses.replace(job, reuse=reuse) for job in jobs(out)]).items():
        for estimator, one in zip(ESTIMATORS, learned, strict=True):
            results.setdefault((estimator, job.sizes.readers), {})[job.seed] = one
    by_size = {name: {size: _rewards(results, name, size) for size in READERS} for name in ESTIMATORS}
    plot_by_size(by_size, out / "by_size.png", "minutes per reader per day, deployed", "readers in the log, 2 days")
    head = (
        f"{Sizes().log_days} days of log, then {Sizes().deploy_days} of deployment, seeds {min(SEEDS)} to "
        f"{max(SEEDS)}; minutes per reader per day, 95 % intervals over seeds."
    )
    differences = [difference_table(results, other) for other in OTHERS]
    return "\n\n".join([head, reward_table(results), *differences, weight_table(results)]) + "\n"


def reward_table(results: Results) -> str:
    """What each policy earned when it was deployed, by the size of the log."""
    sizes = [f"{size:,} readers" for size in READERS]
    rows = [["the logger", "-", *mean_cells([_rewards(results, "none", size, "logger") for size in READERS])]]
    for name in ESTIMATORS:
        spread = "-" if name == "none" else "e^3"
        rows.append([name, spread, *mean_cells([_rewards(results, name, size) for size in READERS])])
    return markdown_table(["estimator", "cap", *sizes], rows)


def difference_table(results: Results, other: str) -> str:
    """Each estimator less ``other``, paired by seed."""
    rows = [
        [name, f"{size:,}", *difference_cells(_rewards(results, name, size), _rewards(results, other, size))]
        for name in ESTIMATORS
        if name != other
        for size in READERS
    ]
    titles = ["estimator", "readers", f"less {other}", "in %", "seeds above 0", f"above {other}"]
    return markdown_table(titles, rows)


def weight_table(results: Results) -> str:
    """In training: ESS / n of the weights as they were used, and the share that was capped; means over seeds."""
    rows = []
    for name in ESTIMATORS:
        for size in READERS:
            seen = [one.training for one in results[name, size].values()]
            means = [sum(m[key] for m in seen) / len(seen) for key in ("effective_sample_share", "share_capped")]
            rows.append([name, f"{size:,}", f"{means[0]:.4f}", f"{100 * means[1]:.2f} %"])
    return markdown_table(["estimator", "readers", "ESS / n in training", "weights at the cap"], rows)


def _rewards(results: Results, estimator: str, size: int, which: str = "deployed") -> list[float]:
    """By seed, in the order of ``SEEDS``."""
    by_seed = results[estimator, size]
    return [getattr(by_seed[seed], which) for seed in SEEDS]
