"""Off-policy estimates on a real log, against a real truth: two policies served the same shop in the same week.

``python -m feedgym.experiments.logs.open_bandit_check --data FOLDER --out runs/open_bandit``: from each policy's log of
the Open Bandit Dataset (small version), what the other one would have earned; beside it what the other one did earn.
Thompson sampling never stood still: what is asked for is the policy that shows each item as often as it did that week.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from feedgym.agents.ope import Estimate, clustered_error, diagnose, dm, dr, dros, ips, sndr, snips, switch_dr
from feedgym.env.arrays import Doubles
from feedgym.env.checks import require
from feedgym.experiments.logs.open_bandit_log import PLACES, OpenBandit, read_open_bandit, write_site_log

CAMPAIGNS = ("all", "men")
POLICIES = {"random": "uniform", "bts": "Thompson sampling"}
PRIOR = 200.0
"""Impressions at the mean click rate that each item and place starts with, in the reward model."""
TAU, LAM = 20.0, 100.0
"""Of SWITCH-DR and DRos; neither was tuned."""


@dataclass(frozen=True, kw_only=True)
class OpenBanditConfig:
    """Where the dataset is."""

    data: Path
    """Folder with ``random_all.csv.gz``, ``bts_all.csv.gz`` and the same of ``men``."""
    out: Path = Path("runs/open_bandit")
    """Folder for a log of each file, which ``feedgym offline`` reads, and for ``table.md``."""


@dataclass(frozen=True)
class Check:
    """One target's estimates from the other policy's log."""

    campaign: str
    target: str
    logger: str
    truth: float
    """Clicks an impression when the target itself served."""
    truth_error: float
    rows: tuple[tuple[str, Estimate, float], ...]
    """Estimator, estimate, and its standard error over readers."""
    logged: float
    """Clicks an impression of the logger."""


def mean_policy(rows: OpenBandit) -> Doubles:
    """How often a policy showed each item at each place, float64 (3, A); each place sums to 1."""
    shown: Doubles = np.zeros((len(PLACES), rows.num_items))
    np.add.at(shown, (rows.place, rows.item), 1.0)
    share: Doubles = shown / shown.sum(axis=1, keepdims=True)
    return share


def crossed_rates(rows: OpenBandit) -> Doubles:
    """Click rates (R, A) of all items at each row's place, by the half of the week that the row is not in."""
    half = rows.hours >= np.median(rows.hours)
    found: Doubles = np.zeros((len(rows.item), rows.num_items))
    for of in (False, True):
        seen = half != of
        shape = (len(PLACES), rows.num_items)
        shown, clicks = np.zeros(shape), np.zeros(shape)
        np.add.at(shown, (rows.place[seen], rows.item[seen]), 1.0)
        np.add.at(clicks, (rows.place[seen], rows.item[seen]), rows.clicked[seen])
        rate = (clicks + PRIOR * clicks.sum() / shown.sum()) / (shown + PRIOR)
        found[half == of] = rate[rows.place[half == of]]
    return found


def check(campaign: str, target_name: str, target: OpenBandit, logger_name: str, logger: OpenBandit) -> Check:
    """Estimate the target's click rate from the logger's rows."""
    require(target.num_items == logger.num_items, "items", target.num_items, f"{logger.num_items}: one campaign's")
    uniform = np.full((len(PLACES), logger.num_items), 1.0 / logger.num_items)
    # Shares of 10,000 impressions stand for the chances of a policy that changes by the minute.
    policy = uniform if target_name == "random" else mean_policy(target)
    clicked = logger.clicked.astype(np.float64)
    w = policy[logger.place, logger.item] / logger.chance
    rates = crossed_rates(logger)
    q = rates[np.arange(len(rates)), logger.item]
    q_pi = np.einsum("ra,ra->r", policy[logger.place], rates)
    found = {
        "ips": ips(w, clicked),
        "snips": snips(w, clicked),
        "dm": dm(q_pi),
        "dr": dr(w, clicked, q, q_pi),
        "sndr": sndr(w, clicked, q, q_pi),
        "switch_dr": switch_dr(w, clicked, q, q_pi, TAU),
        "dros": dros(w, clicked, q, q_pi, LAM),
    }
    rows = tuple((name, e, clustered_error(e.terms, logger.reader)) for name, e in found.items())
    own = dm(target.clicked.astype(np.float64))
    error = clustered_error(own.terms, target.reader)
    return Check(campaign, target_name, logger_name, own.value, error, rows, float(clicked.mean()))


def check_markdown(checks: Sequence[Check]) -> str:
    """A table for each target, in clicks per 1,000 impressions."""
    lines: list[str] = []
    for c in checks:
        heading = f"**{c.campaign}: {POLICIES[c.target]}, from the log of {POLICIES[c.logger]}**"
        truth = f"on its own log {1000 * c.truth:.2f} +- {1960 * c.truth_error:.2f}"
        lines += [f"{heading} ({truth}; the logger {1000 * c.logged:.2f})", ""]
        lines += ["| estimator | estimate | ESS | mean weight | off by | warnings |", "|---|---|---|---|---|---|"]
        for name, estimate, error in c.rows:
            off = (estimate.value - c.truth) / np.hypot(error, c.truth_error)
            said = diagnose(estimate.terms.weight).warnings if name != "dm" else ("extrapolates",)
            cells = (
                name,
                f"{1000 * estimate.value:.2f} +- {1960 * error:.2f}",
                f"{estimate.effective_sample_size:,.0f}",
                f"{estimate.mean_weight:.3f}",
                f"{off:+.1f} se",
                "; ".join(said) or "none",
            )
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def run(config: OpenBanditConfig) -> tuple[Check, ...]:
    """Write the logs and the table; the checks in order."""
    from feedgym.experiments.runs import write_bytes

    checks = []
    for campaign in CAMPAIGNS:
        logs = {name: read_open_bandit(config.data / f"{name}_{campaign}.csv.gz") for name in POLICIES}
        for name, rows in logs.items():
            write_site_log(rows, config.out / f"{name}_{campaign}")
        for target, logger in (("random", "bts"), ("bts", "random")):
            checks.append(check(campaign, target, logs[target], logger, logs[logger]))
    write_bytes(config.out / "table.md", check_markdown(checks).encode())
    return tuple(checks)


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(OpenBanditConfig, args, "open-bandit", __doc__)
    with stopping("open-bandit"):
        print(check_markdown(run(config)))
        print(f"Logs, for feedgym offline --log: {config.out}")


if __name__ == "__main__":
    main()
