"""Off-policy evaluation: what a log of slates says of another policy (algorithms.md, section 5)."""

from feedgym.agents.ope.cascade import cascade_dr, slot_expectation
from feedgym.agents.ope.diagnostics import Diagnostics, diagnose, effective_sample_size
from feedgym.agents.ope.estimators import DEFAULT, ESTIMATORS
from feedgym.agents.ope.evaluation import Evaluation, Row, evaluate
from feedgym.agents.ope.live_sets import ArticleTimes, check_live_sets
from feedgym.agents.ope.logged import LoggedSlates, ModelValues, TargetPropensities
from feedgym.agents.ope.one_item import dm, dr, dros, ips, sndr, snips, switch_dr
from feedgym.agents.ope.report import report_markdown, report_table
from feedgym.agents.ope.resampling import ReaderSums, bootstrap, interval, reader_codes
from feedgym.agents.ope.slate_reward import pair_chances, pseudo_inverse, pseudo_inverse_weights
from feedgym.agents.ope.slates import iips, iips_dr, inclusion_ips, rips, sips, sniips, sniips_dr, snrips, snsips
from feedgym.agents.ope.target import target_propensities
from feedgym.agents.ope.terms import Estimate, Terms, clustered_error

__all__ = [
    "DEFAULT",
    "ESTIMATORS",
    "ArticleTimes",
    "Diagnostics",
    "Estimate",
    "Evaluation",
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
    "iips",
    "iips_dr",
    "inclusion_ips",
    "interval",
    "ips",
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
