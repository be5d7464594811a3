"""Study: what off-policy correction is worth to a policy learned from a log alone (docs/mathematics.md 3.1 and 3.2).

Two loggers on ``vivid``: by popularity, and the same with the articles of the least attractive publishers pushed up
(``sponsored``). From each log a policy is learned without correction, and with inclusion weights under three caps,
and deployed, frozen, on the days after the log. Only immediate rewards are learned from, so that nothing but the
correction differs. ``plain``: the towers are the policy, as in Chen et al. (WSDM 2019); with the shipped baseline and,
as in that paper, without one. ``residual``: the agent ``reinforce`` over its dwell regression.
Steps (``passes``) and readers were chosen on seeds 100 to 102; all else is as it ships when the study is run. These
seeds are fresh, and were frozen with all settings before they were run.
"""

import dataclasses
from math import exp
from pathlib import Path

from feedgym.experiments.reports import markdown_table
from feedgym.experiments.studies.from_logs.logged_learning import POWERS, Job, Learned, Sizes, job_units, run_jobs
from feedgym.experiments.studies.from_logs.logged_tables import difference_cells, mean_cells, plot_differences
from feedgym.experiments.studies.units import Unit

SEEDS = (7500, 7501, 7502, 7503, 7504)
SIZES = Sizes(readers=1000, log_days=2, deploy_days=2)
LOGGERS = {"popular": "popular:epsilon=0.1,sharpness=1.0", "sponsored": "sponsored:epsilon=0.1"}
PLAIN = "mode=plain,passes=20.0"
LEARNERS = {
    "plain": f"reinforce:{PLAIN},use_future=False",
    "plain, no baseline": f"feedgym.experiments.studies.no_baseline.REINFORCE:{PLAIN}",
    "residual": "reinforce:use_future=False",
}
REGRESSION = "regression-dwell"
NONE = "none"
CORRECTIONS = {NONE: "estimator=none", **{f"e^{power}": f"weight_cap={exp(power)!r}" for power in POWERS}}
"""Name of a correction (the cap) -> settings."""
SETTINGS = tuple(
    (title, cap) for title in LEARNERS for cap in CORRECTIONS if title != "residual" or cap in (NONE, "e^3")
)
"""(learner, cap): of the residual policy the published cap only."""

Results = dict[tuple[str, str], dict[int, Learned]]
"""(logger, agent) -> by seed."""


def agents() -> tuple[str, ...]:
    """All that learn from each log."""
    return (REGRESSION, *(_agent(title, cap) for title, cap in SETTINGS))


def jobs(out: Path) -> list[Job]:
    """A log for each logger and seed; seed after seed, so that what is finished early is whole seeds."""
    return [
        Job(logger, seed, SIZES, agents(), out / f"{name}-seed-{seed}")
        for seed in SEEDS
        for name, logger in LOGGERS.items()
    ]


def units(out: Path) -> list[Unit]:
    """All that learn, from all logs."""
    return job_units(jobs(out))


def run(out: Path, reuse: bool = False) -> str:
    """The results, their tables, and the picture of the differences."""
    results: Results = {}
    for job, learned in run_jobs([dataclasses.replace(job, reuse=reuse) for job in jobs(out)]).items():
        name = next(name for name, logger in LOGGERS.items() if logger == job.logger)
        for agent, one in zip(job.agents, learned, strict=True):
            results.setdefault((name, agent), {})[job.seed] = one
    plot_differences(_differences(results), out / "differences.png", "reward gained by correction, per reader per day")
    head = (
        f"{SIZES.readers:,} readers, {SIZES.log_days} days of log, then {SIZES.deploy_days} of deployment, seeds "
        f"{min(SEEDS)} to {max(SEEDS)}; minutes per reader per day, 95 % intervals over seeds."
    )
    tables = [reward_table(results), correction_table(results), cap_table(results), weight_table(results)]
    return "\n\n".join([head, *tables]) + "\n"


def reward_table(results: Results) -> str:
    """What each policy earned when it was deployed."""
    rows = [["the logger", "-", *mean_cells([_rewards(results, name, REGRESSION, "logger") for name in LOGGERS])]]
    rows.append([REGRESSION, "-", *mean_cells([_rewards(results, name, REGRESSION) for name in LOGGERS])])
    for title, cap in SETTINGS:
        rows.append([title, cap, *mean_cells([_rewards(results, name, _agent(title, cap)) for name in LOGGERS])])
    return markdown_table(["learner", "cap", *(f"log of {name}" for name in LOGGERS)], rows)


def correction_table(results: Results) -> str:
    """Corrected less uncorrected, paired by seed."""
    titles = ["learner, log", "cap", "corrected - uncorrected", "in %", "seeds above 0", "helps"]
    rows = [
        [f"{title}, {name}", cap, *difference_cells(corrected, uncorrected)]
        for (title, name, cap), (corrected, uncorrected) in _differences(results).items()
    ]
    return markdown_table(titles, rows)


def cap_table(results: Results) -> str:
    """The other caps less the published one, e^3, paired by seed."""
    rows = [
        [f"{title}, {name}", cap, *difference_cells(*(_rewards(results, name, _agent(title, c)) for c in (cap, "e^3")))]
        for title, cap in SETTINGS
        for name in LOGGERS
        if cap not in (NONE, "e^3")
    ]
    return markdown_table(["learner, log", "cap", "less that of e^3", "in %", "seeds above 0", "better than e^3"], rows)


def weight_table(results: Results) -> str:
    """The weights of the logged impressions under the policy that was learned: means over seeds."""
    titles = ["learner, log", "cap", "mean weight", "ESS / n", "weights above its cap", "weight that it takes away"]
    rows = []
    for name in LOGGERS:
        for title, cap in SETTINGS:
            seen = [one.weights for one in results[name, _agent(title, cap)].values()]
            names = ["mean_weight", "effective_sample_share"]
            names += [] if cap == NONE else [f"share_above_{cap[2:]}", f"lost_{cap[2:]}"]
            means = [sum(weights[n] for weights in seen) / len(seen) for n in names]
            cells = [f"{means[0]:.2f}", f"{means[1]:.4f}", *(f"{100 * m:.2f} %" for m in means[2:])]
            rows.append([f"{title}, {name}", cap, *cells, *["-"] * (4 - len(cells))])
    return markdown_table(titles, rows)


def _differences(results: Results) -> dict[tuple[str, str, str], tuple[list[float], list[float]]]:
    """(learner, logger, cap) -> rewards by seed, corrected and uncorrected."""
    return {
        (title, name, cap): (
            _rewards(results, name, _agent(title, cap)),
            _rewards(results, name, _agent(title, NONE)),
        )
        for title, cap in SETTINGS
        for name in LOGGERS
        if cap != NONE
    }


def _agent(title: str, cap: str) -> str:
    return f"{LEARNERS[title]},{CORRECTIONS[cap]}"


def _rewards(results: Results, logger: str, agent: str, which: str = "deployed") -> list[float]:
    """By seed, in the order of ``SEEDS``."""
    by_seed = results[logger, agent]
    return [getattr(by_seed[seed], which) for seed in SEEDS]
