"""What serving cost the agents of a comparison, counted: how fresh an agent was has a price (docs/guide/serving.md)."""

from collections.abc import Mapping, Sequence

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.ranking import Ranking, markdown_table, number
from feedgym.experiments.reports.run_table import run_table

TITLES = {
    "reader_embeddings": "readers embedded",
    "item_embeddings": "articles embedded",
    "index_writes": "written to the index",
    "queries": "searches",
    "slates": "slates drawn",
    "age_minutes": "hours since the draw",
    "expired": "passed over: expired",
    "excluded": "passed over: excluded",
    "empty": "positions empty",
}
EXPLAINED = (
    "Embedded: runs of the user tower and of the item tower, of new articles and after each training. Written to the "
    "index: articles that it took in, overwrote or let go. The last four are of lists drawn ahead. Staleness: hours "
    "since the draw, mean of the visits, and places of lists that were passed over, as the article had expired by the "
    "visit, or was excluded by then. Emptiness: positions that stayed empty, as the list was at its end. Counts are "
    "the same on any machine; for CPU seconds see `feedgym benchmark`."
)


def cost_cell(name: str, per_1000: float, separator: str = "") -> str:
    """A count of 1,000 visits as a cell, thousands apart by ``separator``; of minutes the mean in hours."""
    return number(per_1000 / 60_000.0, 1) if name == "age_minutes" else f"{per_1000:{separator}.0f}"


def serving_section(runs: Sequence[Run], ranking: Ranking) -> list[str]:
    """A section with counts per 1,000 visits, over all seeds; nothing where no agent retrieves."""
    table = run_table(runs)
    rows = []
    for place, row in enumerate(ranking.rows, 1):
        counts = [run.serving for run in table.runs[row.agent] if run.serving is not None]
        if counts:
            rows.append([str(place), row.name, *_cells(counts)])
    if not rows:
        return []
    return ["## What serving costs, per 1,000 visits", markdown_table(["", "agent", *TITLES.values()], rows), EXPLAINED]


def _cells(counts: Sequence[Mapping[str, int]]) -> list[str]:
    visits = sum(count["visits"] for count in counts)
    if visits == 0:
        return ["-"] * len(TITLES)
    return [cost_cell(name, 1000.0 * sum(count.get(name, 0) for count in counts) / visits) for name in TITLES]
