"""The Markdown report of a comparison: what was run, what came out, and how far one may trust it.

The same runs give the same bytes: no clock, no machine, and paths relative to the report's folder.
"""

import os
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from shlex import quote

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.editor_report import age_cells, editor_remarks, overall_cells
from feedgym.experiments.reports.evaluation_report import ranking_cells, ranking_remarks, reliability_cells
from feedgym.experiments.reports.personal_report import personal_cells, personal_remarks
from feedgym.experiments.reports.ranking import (
    FEW_READERS,
    Ranking,
    caption,
    markdown_table,
    number,
    ranking_markdown,
    shrinkage,
)
from feedgym.experiments.reports.regret_report import regret_section
from feedgym.experiments.reports.run_table import run_table, shown_name
from feedgym.experiments.reports.serving_report import serving_section

ENOUGH_TO_LOOK = 5
"""Seeds below which even a look is uncertain (docs/mathematics.md 4.6)."""
ENOUGH_TO_PUBLISH = 10
"""Seeds to publish (docs/mathematics.md 4.6)."""


def tensorboard_line(logdir: Path, start: Path) -> str:
    """The command that shows the event files, to be typed in ``start``."""
    return f"tensorboard --logdir {quote(os.path.relpath(logdir, start))}"


def pairing_sentence(ranking: Ranking) -> str:
    """By how much pairing shrinks the variance of the agents' differences to the best baseline."""
    rows = [row for row in ranking.rows if row.versus and not isnan(row.versus.pairing_gain)]
    gains = [(row.versus.pairing_gain, row) for row in rows if row.versus]
    if not gains:
        return "Pairing cannot be measured here: it takes two agents, one of them a baseline, and two seeds."
    middle, middle_row = sorted(gains, key=lambda pair: pair[0])[(len(gains) - 1) // 2]
    each = ", ".join(f"{row.agent} {number(100 * gain, 1)} % ({shrinkage(row.versus)})" for gain, row in gains)
    return (
        f"Pairing shrinks the variance of differences to {ranking.baseline} by {number(100 * middle, 1)} % "
        f"({shrinkage(middle_row.versus)}) for the middle one of these: {each}. "
        "Without it, intervals as narrow would take about as many times more seeds."
    )


def write_report(
    folder: Path,
    runs: Sequence[Run],
    ranking: Ranking,
    *,
    config_text: str,
    notes: Sequence[str],
    command: str,
    tensorboard_dir: Path,
    picture: str = "curves.png",
    reward_label: str = "reward",
) -> Path:
    """Write ``report.md``.

    Args:
        folder: where the report and the picture are.
        runs: the runs that were ranked.
        ranking: their ranking.
        config_text: all settings, as text.
        notes: what else should be known, a sentence each.
        command: what was typed.
        tensorboard_dir: folder for ``tensorboard --logdir``.
        picture: name of the picture in ``folder``.
        reward_label: what the reward is, with its unit.

    Returns:
        Path of the report.
    """
    sections = [
        "# Comparison of agents",
        f"{caption(ranking)}\nReward: {reward_label}.",
        ranking_markdown(ranking),
        _bullets(ranking.remarks),
        f"![Reward each day, readers there, reward so far]({picture})",
        "## How to read it",
        _bullets(_how_to_read(ranking)),
        "## Pairing",
        pairing_sentence(ranking),
        "## Each seed",
        f"Reward per reader per day. Seeds: {', '.join(map(str, ranking.seeds))}.",
        _per_seed(ranking),
        *regret_section(runs, ranking),
        *_editor(ranking),
        *_personal(ranking),
        *_evaluation(ranking),
        *serving_section(runs, ranking),
        "## Notes",
        _bullets([*notes, _shown(runs, ranking)]) or "None.",
        "## Limits",
        _bullets(_limits(ranking)),
        "## What was run",
        _fenced(command.strip()),
        _fenced(config_text.strip()),
        "## TensorBoard",
        f"In this report's folder:\n\n{_fenced(tensorboard_line(tensorboard_dir, folder))}",
    ]
    path = folder / "report.md"
    text = "\n\n".join(section for section in sections if section) + "\n"
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def _how_to_read(ranking: Ranking) -> list[str]:
    lines = [
        "All is divided by the readers of hour 0 and the days, fixed in advance: an agent that drives readers away "
        "pays for it. Newcomers join at the same hours under all agents, and what they bring is counted.",
        "there: what a reader brings on a day on which she is there. An agent that keeps only its friends looks good "
        "in it, so nobody is ranked by it.",
    ]
    if ranking.baseline:
        lines.append(
            f"The interval is of the agent's reward minus that of {ranking.baseline}, the best agent that learns "
            "nothing, seed by seed under the same news, readers and luck. An interval without zero is a "
            "difference; each holds by itself at 95 %, so of twenty intervals one is expected to miss."
        )
    if any(row.is_oracle for row in ranking.rows):
        lines.append(
            "Oracles see what only the simulator knows. They are references, not competitors, and no upper bound: one "
            "that serves the best next slate does not plan for the visits after it."
        )
    lines.append("Readers there and readers lost are latent: a real site never sees who has left for good.")
    return lines


def _per_seed(ranking: Ranking) -> str:
    titles = ["", "agent", *(f"seed {seed}" for seed in ranking.seeds)]
    rows = [
        [str(place), shown_name(row.agent, row.is_oracle), *map(number, row.reward_by_seed)]
        for place, row in enumerate(ranking.rows, 1)
    ]
    return markdown_table(titles, rows)


def _editor(ranking: Ranking) -> list[str]:
    """A section where runs say what they have shown."""
    remarks = editor_remarks(ranking.rows)
    if not remarks:
        return []
    tables = [markdown_table(*cells(ranking.rows)) for cells in (overall_cells, age_cells)]
    return ["## What an editor asks first", *tables, _bullets(remarks)]


def _personal(ranking: Ranking) -> list[str]:
    """A section where somebody's lists are a reader's own."""
    remarks = personal_remarks(ranking.rows)
    if not remarks:
        return []
    table = markdown_table(*personal_cells(ranking.rows))
    return ["## Is it personal? Own list against one list", table, _bullets(remarks)]


def _evaluation(ranking: Ranking) -> list[str]:
    """Two sections where something was evaluated: ranking of the live catalogue, and calibration."""
    sections = []
    remarks = ranking_remarks(ranking.rows)
    if remarks:
        table = markdown_table(*ranking_cells(ranking.rows))
        sections += ["## Ranking on the full live catalogue", table, _bullets(remarks)]
    predicting = [row for row in ranking.rows if row.evaluated.reliability]
    if predicting:
        sections += [
            "## Calibration",
            "Predicted chances of a click on what was served, made before the outcome was known and after the first "
            "training, by tenths of the predictions. Served articles are those that the agent's own errors favour: "
            "high predictions promise too much even of a model that is right on average over all articles.",
        ]
    for row in predicting:
        sections += [f"{row.name}:", markdown_table(*reliability_cells(row.evaluated))]
    return sections


def _shown(runs: Sequence[Run], ranking: Ranking) -> str:
    """How much was shown: a loyal reader sees more slates, an empty position none."""
    table = run_table(runs)
    shown = [f"{row.agent} {number(float(table.rates(row.agent, 'impressions').mean()), 1)}" for row in ranking.rows]
    return f"Impressions per reader per day: {', '.join(shown)}."


def _limits(ranking: Ranking) -> list[str]:
    num_seeds = len(ranking.seeds)
    lines = ["Bands are pointwise. Claims hold for the whole time that was run, not for each day at once."]
    if num_seeds < ENOUGH_TO_LOOK:
        lines.insert(0, f"{num_seeds} seed(s): too few even for a look, which takes {ENOUGH_TO_LOOK}.")
    elif num_seeds < ENOUGH_TO_PUBLISH:
        lines.insert(0, f"{num_seeds} seeds: enough for a look; to publish, run at least {ENOUGH_TO_PUBLISH}.")
    else:
        lines.insert(0, f"{num_seeds} seeds.")
    if ranking.num_readers < FEW_READERS:
        lines.append(f"Fewer than {FEW_READERS} readers at hour 0: what each day shows is a few people's.")
    lines.append("Simulated readers: what wins here is a candidate for a test on real ones.")
    return lines
