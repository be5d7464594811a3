"""An evaluation as a table (docs/mathematics.md 5.3 and 5.4)."""

from __future__ import annotations

from collections.abc import Mapping

from feedgym.agents.ope.estimators import ESTIMATORS
from feedgym.agents.ope.evaluation import Evaluation


def report_table(evaluation: Evaluation, truth: float | None = None) -> list[Mapping[str, object]]:
    """A dict for each estimator, in order; with ``truth`` (the target's reward a visit) also whether it is covered."""
    table: list[Mapping[str, object]] = []
    for row in evaluation.rows:
        found = row.diagnostics
        line: dict[str, object] = {
            "estimator": row.estimator,
            "value": row.value,
            "low": row.low,
            "high": row.high,
            "standard_error": row.standard_error,
            "effective_sample_size": found.effective_sample_size,
            "max_weight": found.max_weight,
            "top_share": found.top_share,
            "mean_weight": found.mean_weight,
            "unbiased_when": row.unbiased_when,
            # Nothing weighs its model by what happened: its interval knows nothing of the model's error.
            "extrapolates": not ESTIMATORS[row.estimator].weighs,
            "warnings": "; ".join(found.warnings),
        }
        if truth is not None:
            line |= {"truth": truth, "covers": row.low <= truth <= row.high}
        table.append(line)
    return table


def report_markdown(evaluation: Evaluation, truth: float | None = None) -> str:
    """The same as Markdown, with what has to be known below it."""
    e = evaluation
    head = [
        "estimator",
        "value",
        f"{e.level:.0%} interval",
        "ESS",
        "largest weight",
        "top 1 %",
        "mean weight",
        "unbiased",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in e.rows:
        found = row.diagnostics
        cells = [
            row.estimator,
            f"{row.value:.4f}",
            f"{row.low:.4f} to {row.high:.4f}",
            f"{found.effective_sample_size:,.0f}",
            f"{found.max_weight:.1f}",
            f"{found.top_share:.1%}",
            f"{found.mean_weight:.3f}",
            row.unbiased_when,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    below = [f"Reward a visit, {e.num_visits:,} visits of {e.num_readers:,} readers; the logger's own: {e.logged:.4f}."]
    if truth is not None:
        below.append(f"Truth: {truth:.4f}.")
    below += [f"{note[0].upper()}{note[1:]}." for note in e.notes]
    below += [f"**{row.estimator}**: {warning}." for row in e.rows for warning in row.diagnostics.warnings]
    return "\n".join([*lines, "", *below]) + "\n"
