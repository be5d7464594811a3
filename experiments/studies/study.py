"""``feedgym study NAME``: the studies behind the claims in docs/, from settings that were frozen first.

Each prints its plan, then goes on from what is finished: in its folder, and in its rows, which are committed
(``docs/README.md``, "How to run a study again").
"""

import dataclasses
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.cli import parsed, stopping
from feedgym.experiments.compare import CompareConfig, CompareResult, run
from feedgym.experiments.reports import Run, band, paired_difference, ranking_markdown, ranking_text
from feedgym.experiments.runs import heard, write_bytes
from feedgym.experiments.studies.rows import kept_rows, read_rows
from feedgym.experiments.studies.units import Unit, hours_words, plan_text, run_units, state_with

Claims = Sequence[tuple[str, str, str]]
"""(agent, other, what is claimed)"""

STUDIES = {"learning": "learning", "real_articles": "worlds.real_articles", "long_term": "long_term"}
"""Name -> module in ``feedgym.experiments.studies``."""
TABLES = {
    "estimators": "from_logs.estimators",
    "index": "indexes.index",
    "logged_propensities": "from_logs.logged_propensities",
    "measured_facts": "worlds.measured_facts",
    "newcomers": "worlds.newcomers",
    "off_policy": "from_logs.off_policy",
    "ope": "known_truth.ope",
    "power": "worlds.power",
    "staleness": "freshness.staleness",
    "two_towers": "two_towers",
}
"""The same for studies with tables of their own: their module has ``run(out, reuse)``, which returns a table, and most
have ``units(out)``, which names the work."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison of a study that has several, and what is claimed from it."""

    title: str
    """Also the name of its folder."""
    config: CompareConfig
    claims: Claims
    daily: tuple[tuple[str, str], ...] = ()
    """Pairs (agent, other) whose difference is shown day by day."""


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Which study, and where to."""

    name: str
    """Name of the study, or ``all``."""
    out: Path = Path("runs/studies")
    """Folder of the runs; the same folder goes on where it was stopped."""
    rows: Path = Path("docs/studies/rows")
    """Folder of the rows, a file for each study: what is finished, small enough to be committed."""
    plan: bool = False
    """Only print what would be done, what is done already, and about how long the rest takes."""
    reuse: bool = False
    """Take finished runs and results of other code as they are, instead of doing them anew; the table says so."""


def claims_markdown(runs: Sequence[Run], claims: Claims) -> str:
    """A table of paired differences in reward per reader per day, with the verdict that each interval allows."""
    rows = [
        "| claim | difference | 95 % interval | seeds above 0 | holds |",
        "| --- | ---: | --- | ---: | --- |",
    ]
    for agent, other, claim in claims:
        mine, theirs = _by_seed(runs, agent), _by_seed(runs, other)
        seeds = sorted(mine.keys() & theirs.keys())
        a, b = (np.array([values[seed] for seed in seeds]) for values in (mine, theirs))
        paired = paired_difference(a, b)
        verdict = "yes" if paired.low > 0 else "no: the reverse" if paired.high < 0 else "not shown"
        above = int(np.count_nonzero(a > b))
        interval = f"[{paired.low:+.3f}, {paired.high:+.3f}]"
        rows.append(
            f"| {claim}: `{agent}` - `{other}` | {paired.mean:+.3f} | {interval} "
            f"| {above} of {len(seeds)} | {verdict} |"
        )
    return "\n".join(rows) + "\n"


def daily_markdown(runs: Sequence[Run], agent: str, other: str) -> str:
    """The paired difference of the cumulative curves, day by day, and on which day they cross.

    Of each day: its own mean difference, the difference of everything so far with its 95 % interval (pointwise).
    """
    mine, theirs = _curves(runs, agent), _curves(runs, other)
    seeds = sorted(mine.keys() & theirs.keys())
    daily = np.stack([mine[seed] - theirs[seed] for seed in seeds])
    so_far = np.cumsum(daily, axis=1)
    mean, low, high = band(so_far)
    lines = [
        f"Difference `{agent}` - `{other}`, minutes per reader; {len(seeds)} seeds.",
        "",
        "| day | that day | so far | 95 % interval |",
        "| ---: | ---: | ---: | --- |",
    ]
    for day, (one, m, a, b) in enumerate(zip(daily.mean(axis=0), mean, low, high, strict=True), start=1):
        lines.append(f"| {day} | {one:+.3f} | {m:+.3f} | [{a:+.3f}, {b:+.3f}] |")
    return "\n".join([*lines, "", crossing(mean, low)]) + "\n"


def crossing(mean: np.ndarray, low: np.ndarray) -> str:
    """From which day on a cumulative difference (days,) stays above zero, and its interval too."""

    def since(values: np.ndarray) -> int | None:
        below = np.flatnonzero(~(values > 0))
        first = 1 if len(below) == 0 else int(below[-1]) + 2
        return first if first <= len(values) else None

    ahead, surely = since(mean), since(low)
    if ahead is None:
        return "The cumulative curves do not cross for good: the difference is not above 0 at the end."
    interval = "never" if surely is None else f"from day {surely}"
    return f"The cumulative difference stays above 0 from day {ahead} on; its interval {interval}."


def _by_seed(runs: Sequence[Run], name: str) -> dict[int, float]:
    return {run.seed: run.curves.per_reader_day("reward") for run in _runs_of(runs, name)}


def _curves(runs: Sequence[Run], name: str) -> dict[int, Doubles]:
    return {run.seed: run.curves.daily("reward") for run in _runs_of(runs, name)}


def _runs_of(runs: Sequence[Run], name: str) -> list[Run]:
    agent = parse_agent(name).label
    found = [run for run in runs if run.agent == agent]
    require(bool(found), "agent", agent, f"one that was run: {sorted({run.agent for run in runs})}")
    return found


def study_module(name: str) -> Any:
    """The module of a study, imported when it is asked for."""
    return importlib.import_module(f"feedgym.experiments.studies.{(STUDIES | TABLES)[name]}")


def parts_of(name: str, out: Path) -> tuple[Part, ...]:
    """The comparisons of a study; most have one."""
    require(name in STUDIES, "study", name, f"one of {', '.join((*STUDIES, *TABLES))}, or all")
    study = study_module(name)
    if hasattr(study, "parts"):
        parts: tuple[Part, ...] = study.parts(out / name)
        return parts
    return (Part(title="", config=study.config(out / name), claims=study.CLAIMS),)


def units_of(name: str, out: Path) -> list[Unit]:
    """The work of a study; nothing of one that names none, because it keeps nothing from one time to the next.

    Args:
        name: of the study.
        out: folder of all studies.
    """
    if name in TABLES:
        study = study_module(name)
        units: list[Unit] = study.units(out / name) if hasattr(study, "units") else []
        return units
    return [unit for part in parts_of(name, out) for unit in run_units(part.config, part.title)]


def run_study(config: StudyConfig) -> tuple[CompareResult, ...]:
    """Print the plan of a study, run it, write its tables beside its runs, and print them.

    Args:
        config: with the name of one study. With ``reuse`` the table says what was taken of other code.
    """
    name, root = config.name, config.out / config.name
    units = units_of(name, config.out)
    with heard() as said, kept_rows(config.rows / f"{name}.jsonl", units, root):
        print(plan_text(name, units), flush=True)
        results, tables = _run_study(name, config.out, config.reuse)
    # Done anew is no matter of the table.
    taken = [f"Note: {words}." for words in said if "--reuse)" in words]
    write_bytes(root / "table.md", ("\n\n".join([*tables, *taken]) + "\n").encode())
    return results


def print_plans(config: StudyConfig, names: Sequence[str]) -> None:
    """What each of these studies would do; nothing is written."""
    todo = []
    for name in names:
        units = units_of(name, config.out)
        rows = read_rows(config.rows / f"{name}.jsonl", units, config.out / name)
        print(plan_text(name, units, rows))
        todo += [unit for unit in units if state_with(unit, rows) != "done"]
    if len(names) > 1:
        print(f"All together: {hours_words(todo)} to go.")


def _run_study(name: str, out: Path, reuse: bool) -> tuple[tuple[CompareResult, ...], list[str]]:
    results: list[CompareResult] = []
    tables = [f"Command: `feedgym study {name}`"]
    if name in TABLES:
        study = study_module(name)
        made: str = study.run(out / name, reuse)
        print(made)
        return (), [*tables, made.rstrip("\n")]
    for part in parts_of(name, out):
        result = run(dataclasses.replace(part.config, reuse=reuse))
        results.append(result)
        claims = claims_markdown(result.runs, part.claims)
        heading = [f"## {part.title}"] if part.title else []
        days = [daily_markdown(result.runs, agent, other) for agent, other in part.daily]
        tables += [*heading, ranking_markdown(result.ranking).rstrip(), claims.rstrip(), *(d.rstrip() for d in days)]
        print(ranking_text(result.ranking))
        print("\n".join([claims, *days]))
    return tuple(results), tables


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    config = parsed(StudyConfig, _positional(args), "study", __doc__)
    names = (*STUDIES, *TABLES) if config.name == "all" else (config.name,)
    with stopping("study"):
        if config.plan:
            print_plans(config, names)
            return
        for name in names:
            run_study(dataclasses.replace(config, name=name))


def _positional(args: Sequence[str] | None) -> list[str]:
    """``feedgym study learning`` means ``--name learning``."""
    words = list(sys.argv[1:] if args is None else args)
    if words and not words[0].startswith("-"):
        return ["--name", *words]
    return words


if __name__ == "__main__":
    main()
