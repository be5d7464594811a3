"""What ``feedgym offline`` found out, as a record and in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class OfflineResult:
    """What was learned, and what it is worth."""

    agent: str
    num_visits: int
    num_impressions: int
    propensities: str
    """Of the estimates: ``logged``; ``estimated``; ``unknown`` where some impressions have none and nothing estimated
    them."""
    why_unsupported: str | None
    """Why no other policy can be weighed from this log as it is; None if one can."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Of the last trainings."""
    logger_reward: float | None = None
    """Of the logged policy, per reader per day; None if the log has no rewards."""
    deployed_reward: float | None = None
    """Of the trained agent, frozen, per reader per day: the truth. None if not deployed."""
    deploy_seed: int | None = None
    """Of the readers that it was deployed to; None: those of the log, with the log's luck."""
    difference: float | None = None
    """Deployed less logger, per reader per day."""
    half_width: float | None = None
    """Of its 95 % interval, over readers (paired where they are the log's); the newsroom of one seed is taken as it
    is."""
    why_not_deployed: str | None = None
    other_code: str | None = None
    """What has changed in the world's code since the log was written, where ``--reuse`` takes today's for it."""
    estimates: tuple[Mapping[str, Any], ...] = ()
    """Reward a visit on the days that were kept back, by each estimator, with its diagnostics, and with ``truth``
    where it is known."""
    logged_visit_reward: float | None = None
    """What the logged policy earned a visit on these days."""
    truth_error: float | None = None
    """Standard error of the truth, of one sampled slate a visit."""
    reward_model: str | None = None
    """The regression behind ``cascade_dr``, ``sniips_dr`` and ``dm``; None if there is none."""
    logger_epsilon: float | None = None
    """Chance that a visit of the logging policy explores, where it was estimated."""
    notes: tuple[str, ...] = ()
    """What has to be known of the log, and of all the estimates."""


def decimals(result: OfflineResult) -> int:
    """Places after the point that tell rewards a visit apart: three, or more where visits bring little."""
    scale = abs(result.logged_visit_reward or 0.0)
    return max(3, 2 - math.floor(math.log10(scale))) if scale > 0 else 3


def result_text(result: OfflineResult) -> str:
    """The result in words."""
    lines = [f"{result.agent} learned from {result.num_visits:,} visits ({result.num_impressions:,} impressions)."]
    if result.propensities == "unknown":
        lines.append("Propensities: unknown in the log.")
    if result.why_unsupported is not None:
        lines.append(f"By the log's own propensities no other policy can be estimated: {result.why_unsupported}.")
    if result.logger_reward is not None:
        lines.append(f"Logged policy: {result.logger_reward:.3f} per reader per day.")
    lines += _deployment(result)
    if result.other_code is not None:
        lines.append(f"{result.other_code}: today's was taken for it (--reuse).")
    if result.estimates:
        lines += _estimates(result)
    return "\n".join([*lines, *(f"Note: {note}." for note in result.notes)])


def _deployment(result: OfflineResult) -> list[str]:
    if result.deployed_reward is None:
        return [f"Not deployed: {result.why_not_deployed}."] if result.why_not_deployed is not None else []
    to = "on the same days" if result.deploy_seed is None else f"on the same days, other readers ({result.deploy_seed})"
    words = f"Deployed, frozen, {to}: {result.deployed_reward:.3f} per reader per day"
    if result.difference is not None and result.half_width is not None:
        words += f" ({result.difference:+.3f} +- {result.half_width:.3f}, 95 % over readers)"
    return [words + "."]


def _estimates(result: OfflineResult) -> list[str]:
    truth, error = result.estimates[0].get("truth"), result.truth_error
    d = decimals(result)
    known = "" if truth is None else f", truth {truth:.{d}f}" + ("" if error is None else f" +- {1.96 * error:.{d}f}")
    by = "estimates"
    if result.propensities == "estimated":
        by = f"estimates by estimated propensities (exploration {result.logger_epsilon:.2f})"
    first = f"Reward a visit on the days kept back: logged {result.logged_visit_reward:.{d}f}{known}; {by}:"
    return [first, *(_line(row, d) for row in result.estimates)]


def _line(row: Mapping[str, Any], d: int) -> str:
    line = f"  {row['estimator']:10} {row['value']:{d + 4}.{d}f} [{row['low']:.{d}f}, {row['high']:.{d}f}]"
    said = [] if row["extrapolates"] else [f"effective sample {row['effective_sample_size']:,.0f}"]
    line += ", " + ", ".join([*said, f"unbiased: {row['unbiased_when']}"])
    if row["extrapolates"]:
        return line + " (extrapolates)"
    return line + (f" ({row['warnings']})" if row["warnings"] else "")
