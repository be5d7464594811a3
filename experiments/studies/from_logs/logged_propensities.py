"""Study: off-policy estimates where the log has no propensities, by propensities that are estimated from it.

Each log is estimated from twice: by its own chances, and by those of a model of who logged, which has not seen them.
The truth is the simulator's, at the logged states. Two loggers on ``vivid``: one by popularity, which never learns,
and a regression that trains every 6 hours, and so is another policy at every quarter of a day. Towers are as they ship
when the study is run; these seeds are fresh, and were frozen with all settings before they were run.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.agents.registry import parse_agent
from feedgym.experiments.commands import LogConfig, make_log
from feedgym.experiments.logs import Kept, feed_of, start, with_estimates
from feedgym.experiments.offline import OfflineResult, simulated_run
from feedgym.experiments.reports import paired_difference
from feedgym.experiments.runs import code_with, kept_result, one_thread, without_code
from feedgym.experiments.studies.units import Unit, size_words

SEEDS = tuple(range(7650, 7656))
LOGGERS = ("popular:epsilon=0.2", "regression-dwell:epsilon=0.2")
TARGET = "regression-dwell:sharpness=0.5,epsilon=0.3"
"""Softer than the default: near enough to both loggers that weights say something."""
READERS, DAYS, ESTIMATE_DAYS = 1000, 4.0, 1.0
MINUTES = 1.1
"""Of one core that a log and its estimates take, about (see ``pace.py``)."""
SHOWN = ("sniips", "sniips_dr", "snrips", "cascade_dr", "dm")

Rows = Mapping[str, Mapping[str, Any]]
"""Lines of a report, by estimator."""


def _log_of(logger: str, seed: int, out: Path, reuse: bool = False) -> LogConfig:
    folder = out / "logs" / _name(logger, seed)
    return LogConfig(agent=logger, readers=READERS, days=DAYS, seed=seed, out=folder, reuse=reuse)


def _name(logger: str, seed: int) -> str:
    return f"{logger.split(':')[0]}-{seed}"


def unit(logger: str, seed: int, out: Path) -> Unit:
    """One log, estimated from twice."""
    logged = without_code(_log_of(logger, seed, out).run_config().settings())
    return Unit(
        group=f"log of {logger}",
        seed=seed,
        size=size_words(READERS, DAYS),
        path=out / f"{_name(logger, seed)}.json",
        settings=logged | {"target": TARGET, "estimate_days": ESTIMATE_DAYS},
        code=code_with(__name__, with_estimates.__module__),
        minutes=MINUTES,
    )


def units(out: Path) -> list[Unit]:
    """All logs."""
    return [unit(logger, seed, out) for logger in LOGGERS for seed in SEEDS]


def one(logger: str, seed: int, out: Path, reuse: bool = False) -> Mapping[str, Any]:
    """Both estimates of one log, from a file where they were made before."""
    log, kept = _log_of(logger, seed, out, reuse), unit(logger, seed, out)

    def both() -> dict[str, Any]:
        make_log(log)
        with one_thread("torch", "faiss"):
            made = zip(("logged", "estimated"), _both(log.out, reuse), strict=True)
            return {how: dataclasses.asdict(result) for how, result in made}

    found: Mapping[str, Any] = kept_result(kept.path, kept.settings, both, code=kept.code, reuse=reuse)
    return found


def _both(log: Path, reuse: bool) -> tuple[OfflineResult, OfflineResult]:
    from feedgym.agents.logged import LoggedSite, learn_from_log
    from feedgym.env.log import LogReader

    world = simulated_run(LogReader(log).config, reuse=reuse)
    sizes = feed_of(world).catalogue.category_sizes

    def opened(seed: int | None) -> LoggedSite:
        return LoggedSite(log, seed=seed, category_sizes=sizes)

    site, plan = opened(None), parse_agent(TARGET)
    agent, until = start(plan, site), 24.0 * (DAYS - ESTIMATE_DAYS)
    learn_from_log(agent, site, until_hours=until)
    summary = site.summary
    bare = OfflineResult(
        agent=plan.label,
        num_visits=summary.num_visits,
        num_impressions=summary.num_rows,
        propensities="logged",
        why_unsupported=None,
    )
    kept = Kept(plan, agent, opened, until, world)
    first = with_estimates(bare, kept, "auto", estimate_propensities=False)
    return first, with_estimates(bare, kept, "auto", estimate_propensities=True)


def table(logger: str, results: Sequence[Mapping[str, Any]]) -> str:
    """How far both are from the truth, over seeds."""
    by = {how: [_rows(result[how]) for result in results] for how in ("logged", "estimated")}
    truth = np.array([rows["sniips"]["truth"] for rows in by["logged"]])
    logged = np.array([result["logged"]["logged_visit_reward"] for result in results])
    lines = [
        f"**Logger `{logger}`**: {logged.mean():.3f} a visit; the target's truth {truth.mean():.3f}; "
        f"{len(truth)} seeds.",
        "",
        "| estimator | by | mean error | 95 % of it | root mean square | truth in interval | ESS | mean weight |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SHOWN:
        for how in ("logged",) if name == "dm" else ("logged", "estimated"):
            found = [rows[name] for rows in by[how]]
            value = np.array([row["value"] for row in found])
            error = paired_difference(value, truth)
            covered = sum(bool(row["covers"]) for row in found)
            cells = (
                name,
                "model alone" if name == "dm" else how,
                f"{error.mean:+.3f}",
                f"[{error.low:+.3f}, {error.high:+.3f}]",
                f"{float(np.sqrt(np.mean((value - truth) ** 2))):.3f}",
                f"{covered} of {len(found)}",
                f"{np.median([row['effective_sample_size'] for row in found]):,.0f}",
                f"{np.median([row['mean_weight'] for row in found]):.2f}",
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _rows(result: Mapping[str, Any]) -> Rows:
    return {row["estimator"]: row for row in result["estimates"]}


def run(out: Path, reuse: bool = False) -> str:
    """The study's tables; goes on where it was stopped."""
    parts = [table(logger, [one(logger, seed, out, reuse) for seed in SEEDS]) for logger in LOGGERS]
    return "\n".join(parts)
