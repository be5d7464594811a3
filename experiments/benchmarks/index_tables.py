"""Section ``indexes`` of the benchmark, as text."""

from collections.abc import Sequence
from typing import Any

from feedgym.experiments.benchmarks.indexes import (
    DIM,
    SHARE,
    SHORTLIST,
    RefreshFigures,
    SearchFigures,
    refresh_figures,
    search_figures,
)
from feedgym.experiments.reports import markdown_table

SIZES = (1_000, 10_000, 100_000)


def indexes(scale: float, rounds: int) -> tuple[str, Sequence[Any]]:
    """Measure all kinds at all sizes; both tables, and all figures.

    Args:
        scale: below 1: smaller sizes.
        rounds: in which ours and bare faiss take turns.
    """
    sizes = sorted({max(200, round(live * scale)) for live in SIZES})
    searched = [figure for live in sizes for figure in search_figures(live, rounds, 0.05 * scale)]
    refreshed = [figure for live in sizes for figure in refresh_figures(live, rounds)]
    title = f"## Indexes: CPU time over that of the bare faiss calls, {SHORTLIST} from d = {DIM}"
    return f"{title}\n\n{search_table(searched)}\n\n{refresh_table(refreshed)}".rstrip(), [*searched, *refreshed]


def search_table(figures: Sequence[SearchFigures]) -> str:
    """A row for each size and kind: milliseconds of faiss for a batch, and the ratio to it."""
    batches = list(dict.fromkeys(f.batch for f in figures))
    found = {(f.live, f.kind, f.batch): f for f in figures}
    rows = []
    for live, kind in dict.fromkeys((f.live, f.kind) for f in figures):
        of_batch = [found[live, kind, batch] for batch in batches]
        cells = [f"{f.faiss_ms:.3f}, {f.ratio:.2f}" for f in of_batch]
        rows.append([f"{live:,}", f"`{kind}`", *cells, f"{of_batch[0].recall:.3f}", f"{of_batch[0].bare_recall:.3f}"])
    titles = [f"B = {batch:,}: faiss ms, ratio" for batch in batches]
    return markdown_table(["live", "index", *titles, f"recall@{SHORTLIST}", "bare faiss's"], rows)


def refresh_table(figures: Sequence[RefreshFigures]) -> str:
    """A row for each size and kind."""
    rows = [
        [
            *(f"{f.live:,}", f"`{f.kind}`", f"{f.faiss_ms:.3f}", f"{f.ratio:.2f}", f"{f.checked:.2f}"),
            *(f"{f.build_ms:.0f}" if f.build_ms else "-", f"{f.rebase_ms:.1f}"),
        ]
        for f in figures
    ]
    change = f"{100 * SHARE:g} % leave, {100 * SHARE:g} % arrive: faiss ms"
    return markdown_table(["live", "index", change, "ratio", "with checks of recall", "build ms", "rebase ms"], rows)
