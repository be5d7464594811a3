"""Losses of the two towers: pure functions without state, each the (weighted) mean over its rows.

Types: float64 stays float64, halves rise to float32 (also under autocast), ids are int64, masks are bool and True
where there is an entry.
Weights: ``normalise="weight"`` gives sum(w l) / sum(w), which is self-normalised: steady, and slightly biased
as an inverse-propensity estimate. ``normalise="count"`` gives sum(w l) / rows, which is unbiased.
Rows without any negative are skipped (``usable_rows`` and ``usable_slates`` count them); if all are, that is an error.
"""

from feedgym.towers.losses.common import Normalise, usable_rows, usable_slates
from feedgym.towers.losses.examination import examination_posterior
from feedgym.towers.losses.in_batch import Correction, in_batch_softmax_loss
from feedgym.towers.losses.pairwise import bpr_loss, ccl_loss, gbce_beta, gbce_loss, sampled_bce_loss
from feedgym.towers.losses.pointwise import bce_loss, ips_bce_loss, mse_loss
from feedgym.towers.losses.slates import drawn_non_clicks, slate_bpr_loss, slate_softmax_loss
from feedgym.towers.losses.softmax import full_softmax_loss, sampled_softmax_loss, softmax_loss

__all__ = [
    "Correction",
    "Normalise",
    "bce_loss",
    "bpr_loss",
    "ccl_loss",
    "drawn_non_clicks",
    "examination_posterior",
    "full_softmax_loss",
    "gbce_beta",
    "gbce_loss",
    "in_batch_softmax_loss",
    "ips_bce_loss",
    "mse_loss",
    "sampled_bce_loss",
    "sampled_softmax_loss",
    "slate_bpr_loss",
    "slate_softmax_loss",
    "softmax_loss",
    "usable_rows",
    "usable_slates",
]
