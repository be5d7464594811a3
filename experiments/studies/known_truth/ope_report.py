"""Tables and picture of the study of off-policy estimates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feedgym.env.arrays import Doubles
from feedgym.experiments.reports import PALETTE, markdown_table
from feedgym.experiments.studies.known_truth.ope_draws import READERS
from feedgym.experiments.studies.known_truth.ope_replications import STUDIED, WARNINGS, WRONG
from feedgym.experiments.studies.known_truth.ope_scores import RIGHT_FOR, Score, SeedSummary

Scores = Mapping[tuple[int, str, str], Score]
KINDS = {
    "article": "a click follows from the article alone",
    "position": "from article and position",
    "cascade": "after a click half of the readers are done with the page",
}
WEIGHTS = {"sips": "slate", "rips": "slots down to k", "iips": "position", "inclusion_ips": "anywhere on the slate"}
"""Whose diagnostics are shown, and what its weights are of."""
DRAWN = ("sips", "rips", "iips", "inclusion_ips", "cascade_dr", "dm", WRONG)
"""Curves of the picture: the forms that normalise themselves would lie on these."""


def truth_table(results: Sequence[SeedSummary], policies: Sequence[str]) -> str:
    """Expected reward a visit, means over seeds: of each policy, for each kind of readers."""
    truth, error = (np.stack([getattr(r, name) for r in results]) for name in ("truth", "truth_error"))
    rows = []
    for p, name in enumerate(policies):
        cells = [f"{truth[:, p, h].mean():.3f}" for h in range(len(READERS))]
        rows.append(["served" if p == 0 else "target", name, *cells, f"{error[:, p].max():.4f}"])
    return markdown_table(["", "policy", *READERS, "error of a seed's truth, at most"], rows)


def score_table(scores: Scores, target: int, kind: str) -> str:
    """All estimators for one target and one kind of readers."""
    titles = ["estimator", "assumption", "mean error", "in its errors", "RMSE", "covers", "slope", "as 5.5 asks"]
    rows = []
    for name in STUDIED:
        score = scores[target, kind, name]
        holds = name in RIGHT_FOR[kind]
        failed = score.failures()
        verdict = ("yes" if not failed else f"no: {', '.join(failed)}") if holds else "-"
        cells = [f"{score.bias:+.4f}", f"{score.distance:+.1f}", f"{score.rmse:.4f}"]
        cells += [f"{score.covered} of {score.replications}", f"{score.slope:+.2f} +- {score.slope_error:.2f}"]
        rows.append([f"`{name}`", "holds" if holds else "does not", *cells, verdict])
    return markdown_table(titles, rows)


def weight_table(results: Sequence[SeedSummary], targets: Sequence[str]) -> str:
    """What the weights say of themselves in the replications."""
    titles = ["target", "weights of", "effective / n", "mean weight", "share of the top 1 %"]
    titles += [f"warned: {word}" for word in WARNINGS]
    size, mean, top, warned = (np.mean([getattr(r, name) for r in results], axis=0) for name in _OF_WEIGHTS)
    rows = []
    for t, target in enumerate(targets):
        for name, words in WEIGHTS.items():
            e = tuple(STUDIED).index(name)
            cells = [f"{size[t, e]:.4f}", f"{mean[t, e]:.3f}", f"{top[t, e]:.2f}"]
            cells += [f"{100 * share:.0f} %" for share in warned[t, e]]
            rows.append([target, f"{words} (`{name}`)", *cells])
    return markdown_table(titles, rows)


_OF_WEIGHTS = ("size", "mean_weight", "top_share", "warned")


def quiet_table(scores: Scores, targets: Sequence[str]) -> str:
    """Coverage where an estimator's assumption holds, by whether its diagnostics warned."""
    rows = []
    for t, target in enumerate(targets):
        right = [scores[t, kind, name] for kind in READERS for name in RIGHT_FOR[kind]]
        covered, quiet = sum(s.covered_quiet for s in right), sum(s.quiet for s in right)
        all_covered, many = sum(s.covered for s in right), sum(s.replications for s in right)
        rows.append([target, *(_share(*pair) for pair in ((covered, quiet), (all_covered - covered, many - quiet)))])
    return markdown_table(["target", "no warning: intervals that cover", "with a warning"], rows)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of {whole:,}" if whole else "-"


def claims_table(results: Sequence[SeedSummary], scores: Scores, at: int, targets: Sequence[str]) -> str:
    """What 5.5 says of estimators against each other; ``at`` is the place of a replication among the sizes of logs."""
    rows = []
    for t, target in enumerate(targets):
        for h, kind in enumerate(READERS[:2]):
            ratio = _rmse_ratios(results, at, t, h, "sips", "iips")
            mean = scores[t, kind, "sips"].rmse / scores[t, kind, "iips"].rmse
            better = int(np.count_nonzero(ratio > 1.0))
            said = f"RMSE of `sips` is {mean:.1f} times that of `iips`; larger on {better} of {len(ratio)} seeds"
            rows.append(
                [target, f"`iips` beats `sips`, readers `{kind}`", said, "yes" if better == len(ratio) else "no"]
            )
        rips, iips = scores[t, "cascade", "rips"], scores[t, "cascade", "iips"]
        said = f"mean error in its errors: `rips` {rips.distance:+.1f}, `iips` {iips.distance:+.1f}"
        holds = "bias" not in rips.failures() and "bias" in iips.failures()
        rows.append(
            [target, "`rips` is unbiased where `iips` is not, readers `cascade`", said, "yes" if holds else "not shown"]
        )
        wrong = [scores[t, kind, WRONG].failures() for kind in READERS]
        said = "; ".join(f"{kind}: fails {', '.join(f) or 'nothing'}" for kind, f in zip(READERS, wrong, strict=True))
        rows.append([target, "single slot ratios are found out", said, "yes" if all(wrong) else "no"])
    return markdown_table(["target", "claim", "found", "holds"], rows)


def _rmse_ratios(results: Sequence[SeedSummary], at: int, t: int, h: int, one: str, other: str) -> Doubles:
    """RMSE of one estimator over that of another, at each seed, (S,)."""
    e = [tuple(STUDIED).index(name) for name in (one, other)]
    square = np.stack([result.mean_square[t, h, e, at] for result in results])
    found: Doubles = np.sqrt(square[:, 0] / square[:, 1])
    return found


def plot_errors(path: Path, scores: Scores, targets: Sequence[str], visits: Sequence[float]) -> None:
    """RMSE against the visits of a log: a panel for each target and kind of readers, with the n^-1/2 guide.

    Args:
        path: PNG to write.
        scores: of everything.
        targets: names, in the order of ``scores``.
        visits: of the logs of each size.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context("default", after_reset=True):
        figure = Figure(figsize=(12, 3.6 * len(targets)), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(targets), len(READERS), sharex=True, sharey="row", squeeze=False)
        for t, target in enumerate(targets):
            for h, kind in enumerate(READERS):
                _panel(axes[t, h], scores, t, kind, visits)
                axes[t, h].set_title(f"{target}; readers: {kind}", fontsize=10)
            axes[t, 0].set_ylabel("RMSE, minutes a visit")
        for axis in axes[-1]:
            axis.set_xlabel("visits in the log")
        axes[0, 0].legend(fontsize=8)
        figure.savefig(path, format="png", metadata={"Software": None})


def _panel(axis: Any, scores: Scores, target: int, kind: str, visits: Sequence[float]) -> None:
    for name, colour in zip(DRAWN, PALETTE, strict=False):
        dashes = "-" if name in RIGHT_FOR[kind] else ":"
        axis.loglog(visits, scores[target, kind, name].rmse_by_size, dashes, color=colour, marker=".", label=name)
    x = np.asarray(visits)
    start = scores[target, kind, "iips"].rmse_by_size[0]
    axis.loglog(x, start * (x / x[0]) ** -0.5, "--", color="#6e6e6e", linewidth=1, label="n^-1/2")
    axis.grid(alpha=0.3)
