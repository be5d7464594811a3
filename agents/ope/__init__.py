"""Off-policy evaluation: what a log of slates says of another policy (docs/mathematics.md 5).

May import ``slate_policy`` and ``feedgym.env``.
"""

from feedgym.agents.ope.estimators import DEFAULT, ESTIMATORS, Estimator, Inputs
from feedgym.agents.ope.evaluation import Evaluation, Row, evaluate
from feedgym.agents.ope.formulas.cascade import cascade_dr, mixed_expectation, slot_expectation
from feedgym.agents.ope.formulas.diagnostics import Diagnostics, diagnose, effective_sample_size
from feedgym.agents.ope.formulas.one_item import dm, dr, dros, ips, sndr, snips, switch_dr
from feedgym.agents.ope.formulas.slate_reward import pair_chances, pseudo_inverse, pseudo_inverse_weights
from feedgym.agents.ope.formulas.slates import (
    iips,
    iips_dr,
    inclusion_ips,
    rips,
    sips,
    sniips,
    sniips_dr,
    snrips,
    snsips,
)
from feedgym.agents.ope.formulas.terms import Estimate, Terms, clustered_error
from feedgym.agents.ope.live_sets import ArticleTimes, check_live_sets
from feedgym.agents.ope.logged import LoggedSlates, ModelValues, TargetPropensities, first_rows
from feedgym.agents.ope.report import report_markdown, report_table
from feedgym.agents.ope.resampling import ReaderSums, bootstrap, interval, reader_codes
from feedgym.agents.ope.target import target_propensities

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
    "ArticleTimes",
    "Diagnostics",
    "Estimate",
    "Estimator",
    "Evaluation",
    "Inputs",
    "LoggedSlates",
    "ModelValues",
    "ReaderSums",
    "Row",
    "TargetPropensities",
    "Terms",
    "bootstrap",
    "cascade_dr",
    "check_live_sets",
    "clustered_error",
    "diagnose",
    "dm",
    "dr",
    "dros",
    "effective_sample_size",
    "evaluate",
    "first_rows",
    "iips",
    "iips_dr",
    "inclusion_ips",
    "interval",
    "ips",
    "mixed_expectation",
    "pair_chances",
    "pseudo_inverse",
    "pseudo_inverse_weights",
    "reader_codes",
    "report_markdown",
    "report_table",
    "rips",
    "sips",
    "slot_expectation",
    "sndr",
    "sniips",
    "sniips_dr",
    "snips",
    "snrips",
    "snsips",
    "switch_dr",
    "target_propensities",
]
