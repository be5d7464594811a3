"""Study: off-policy estimates against the simulator's truth (docs/mathematics.md 5.5).

A dwell regression is frozen and logs on ``vivid``. What would three other policies have earned at the states it left?
``near`` has its towers and explores less, ``retrained`` has its towers after half a day more of learning, ``far`` is
another model. Each of the 10 seeds is a world with policies of its own; on each, 20 logs of about 10,000 visits are
drawn: other readers of the kept day, other slates, other luck. Truth is the expected reward of the target at the same
states. Every log is written by three kinds of readers, who look at a page in three ways.
What was chosen on seeds 100 to 102: the targets' settings, so that one of them is near. Frozen before these were run.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.experiments.runs import code_with, kept_result, one_thread
from feedgym.experiments.studies.known_truth.ope_draws import READERS
from feedgym.experiments.studies.known_truth.ope_replications import STUDIED, ReplicationConfig, replicate
from feedgym.experiments.studies.known_truth.ope_report import (
    KINDS,
    claims_table,
    plot_errors,
    quiet_table,
    score_table,
    truth_table,
    weight_table,
)
from feedgym.experiments.studies.known_truth.ope_scores import SeedSummary, scores, summary
from feedgym.experiments.studies.units import Unit

SEEDS = (7400, 7401, 7402, 7403, 7404, 7405, 7406, 7407, 7408, 7409)
CONFIG = ReplicationConfig()
MADE_BY = tuple(
    f"feedgym.experiments.studies.known_truth.ope_{name}" for name in ("draws", "replications", "scores", "states")
)
"""Modules that make a seed's result; the others make tables of it."""
MINUTES = 2.0
"""Of one core that a seed takes, about (see ``pace.py``)."""
SIZES = (1, 2, 5, 10, 20, 50, 100)
"""Cells of the logs whose errors give the slope: 1,000 to 100,000 visits. They divide the 200 cells of a seed."""


def run(out: Path, reuse: bool = False) -> str:
    """All seeds, those that are there already read back; then the tables, and the picture beside them."""
    with one_thread("torch", "faiss"):
        results = [_of_seed(out, seed, reuse) for seed in SEEDS]
    targets = tuple(CONFIG.states.policies)[1:]
    found = scores(results, CONFIG.cells, SIZES)
    visits = float(np.mean([result.cell_visits for result in results]))
    plot_errors(out / "errors.png", found, targets, [visits * size for size in SIZES])
    total = sum(result.replications for result in results)
    parts = [
        f"Seeds {SEEDS[0]} to {SEEDS[-1]}, {total} replications of {visits * CONFIG.cells:,.0f} visits; "
        f"{CONFIG.bootstrap:,} bootstrap replicates. Slope: logs of {visits * SIZES[0]:,.0f} "
        f"to {visits * SIZES[-1]:,.0f} visits.",
        "## Truth: minutes a visit, by kind of readers\n\n"
        + truth_table(results, tuple(CONFIG.states.policies))
        + "\n\n"
        + "\n".join(f"- `{kind}`: {words}." for kind, words in KINDS.items()),
        "## Which estimator is right for whom\n\n" + claims_table(results, found, SIZES.index(CONFIG.cells), targets),
        "## What the weights say of themselves\n\n" + weight_table(results, targets),
        "Where an estimator's assumption holds:\n\n" + quiet_table(found, targets),
    ]
    for t, target in enumerate(targets):
        parts += [f"## Target `{target}`, readers `{kind}`\n\n{score_table(found, t, kind)}" for kind in READERS]
    return "\n\n".join(parts) + "\n"


def unit(out: Path, seed: int) -> Unit:
    """One seed."""
    return Unit(
        group="replications",
        seed=seed,
        size=f"{CONFIG.replications} logs of {CONFIG.cells * CONFIG.cell_visits:,} visits",
        path=out / f"seed-{seed}.json",
        settings={"config": dataclasses.asdict(CONFIG), "estimators": list(STUDIED), "sizes": list(SIZES)},
        code=code_with(*MADE_BY),
        minutes=MINUTES,
    )


def units(out: Path) -> list[Unit]:
    """All seeds."""
    return [unit(out, seed) for seed in SEEDS]


def _of_seed(out: Path, seed: int, reuse: bool = False) -> SeedSummary:
    kept = unit(out, seed)

    def made() -> dict[str, Any]:
        result = replicate(CONFIG, seed)
        print(f"seed {seed}: {result.count.sum():,.0f} visits drawn", flush=True)
        return summary(result, SIZES).as_json()

    return SeedSummary.from_json(kept_result(kept.path, kept.settings, made, code=kept.code, reuse=reuse))
