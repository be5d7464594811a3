"""``feedgym study NAME``: the studies behind the claims in docs/, from settings that were frozen first."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.agents import parse_agent
from feedgym.env.checks import require
from feedgym.experiments.checkpoint import write_bytes
from feedgym.experiments.command import parsed, stopping
from feedgym.experiments.compare import CompareResult, run
from feedgym.experiments.curves import Run
from feedgym.experiments.ranking import ranking_markdown, ranking_text
from feedgym.experiments.statistics import paired_difference

STUDIES = ("learning", "real_articles")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Which study, and where to."""

    name: str
    """Name of the study, or ``all``."""
    out: Path = Path("runs/studies")
    """Folder of the runs; the same folder goes on where it was stopped."""


def claims_markdown(runs: Sequence[Run], claims: Sequence[tuple[str, str, str]]) -> str:
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


def _by_seed(runs: Sequence[Run], name: str) -> dict[int, float]:
    agent = parse_agent(name).label
    found = {run.seed: run.curves.per_reader_day("reward") for run in runs if run.agent == agent}
    require(bool(found), "agent", agent, f"one that was run: {sorted({run.agent for run in runs})}")
    return found


def run_study(name: str, out: Path) -> CompareResult:
    """Run a study, write its tables beside its runs, and print them."""
    require(name in STUDIES, "study", name, f"one of {', '.join(STUDIES)}, or all")
    study: Any = importlib.import_module(f"feedgym.experiments.studies.{name}")
    result = run(study.config(out / name))
    claims = claims_markdown(result.runs, study.CLAIMS)
    ranking = ranking_markdown(result.ranking).rstrip()
    table = f"Command: `feedgym study {name}`\n\n{ranking}\n\n{claims}"
    write_bytes(out / name / "table.md", table.encode())
    print(ranking_text(result.ranking))
    print(claims)
    return result


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    config = parsed(StudyConfig, _positional(args), "study", __doc__)
    with stopping("study"):
        for name in STUDIES if config.name == "all" else (config.name,):
            run_study(name, config.out)


def _positional(args: Sequence[str] | None) -> list[str]:
    """``feedgym study learning`` means ``--name learning``."""
    words = list(sys.argv[1:] if args is None else args)
    if words and not words[0].startswith("-"):
        return ["--name", *words]
    return words


if __name__ == "__main__":
    main()
