"""Regret and gap in the report: two comparisons with an oracle that are easily taken for one (docs/mathematics.md 4.5).

(a) Local regret: at the agent's own states, the oracle's slate minus the agent's, in expected reward a visit.
(b) Gap: the oracle's run minus the agent's, seed by seed, as rewards fell, per reader per day.
"""

from collections.abc import Sequence

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.ranking import MISSING, Ranking, Row, interval, markdown_table, number
from feedgym.experiments.reports.run_table import RunTable, run_table
from feedgym.experiments.reports.statistics import band, paired_difference

EXPLAINED = (
    "Local regret: at the agent's own states, expected reward of the slate that pays most at once, minus that of the "
    "agent's slate; clicks and minutes only. Not below zero, however good the agent's plans are.",
    "Gap: the oracle's run minus the agent's, under the same seed. It may be negative: an oracle that serves the best "
    "next slate does not plan for satiation and return.",
)


def reference(ranking: Ranking) -> Row | None:
    """The oracle that gaps are measured against: of those that serve the best next slate, the one that earned most.

    One that plans, or serves one list to all, is taken only where no other was run.
    """
    oracles = [row for row in ranking.rows if row.is_oracle]
    immediate = [row for row in oracles if not row.agent.startswith(("oracle-planning", "one-list-"))]
    return next(iter(immediate or oracles), None)


def regrets(table: RunTable, agent: str) -> tuple[Doubles, Doubles] | None:
    """Local regret a visit of each seed, and expected reward of the oracle's slates there, (S,) each.

    None unless every seed was evaluated.
    """
    found = [(run.evaluation or {}).get("regret") for run in table.runs[agent]]
    if not all(found):
        return None
    local, oracle = (np.array([one[name] for one in found if one]) for name in ("local", "oracle"))
    return local, oracle


def regret_section(runs: Sequence[Run], ranking: Ranking) -> list[str]:
    """The section of the report; nothing where no oracle was run.

    Args:
        runs: the runs that were ranked.
        ranking: their ranking.

    Returns:
        Heading, table and explanations, to be joined by empty lines.
    """
    oracle = reference(ranking)
    if oracle is None:
        return []
    table = run_table(runs)
    titles = ["", "agent", "local regret a visit [95 %]", "of the oracle's slate %", f"gap to {oracle.agent} [95 %]"]
    cells = [
        [str(place), row.name, *_local(table, row.agent), _gap(table, row.agent, oracle.agent)]
        for place, row in enumerate(ranking.rows, 1)
    ]
    explained = "\n".join(f"- {line}" for line in EXPLAINED)
    return ["## Regret and gap", markdown_table(titles, cells), explained]


def _local(table: RunTable, agent: str) -> tuple[str, str]:
    """Local regret with its interval over seeds, and its share of what the oracle's slates would pay."""
    found = regrets(table, agent)
    if found is None:
        return MISSING, MISSING
    local, oracle = found
    mean, low, high = (float(end[0]) for end in band(local[:, None]))
    ends = MISSING if len(local) == 1 else f"{number(low)}, {number(high)}"
    share = number(100.0 * float(local.sum() / oracle.sum()), 1) if oracle.sum() else MISSING
    return f"{number(mean)} [{ends}]", share


def _gap(table: RunTable, agent: str, oracle: str) -> str:
    if agent == oracle:
        return MISSING
    return interval(paired_difference(table.rates(oracle, "reward"), table.rates(agent, "reward")))
