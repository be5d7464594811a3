"""The estimators that a report can name, what each needs and assumes (docs/mathematics.md 5.2 and 5.3).

Shapes: n visits, K positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from feedgym.agents.ope.formulas.cascade import cascade_dr
from feedgym.agents.ope.formulas.one_item import dm
from feedgym.agents.ope.formulas.slate_reward import pseudo_inverse
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
from feedgym.agents.ope.formulas.terms import Estimate
from feedgym.agents.ope.logged import LoggedSlates, ModelValues, TargetPropensities
from feedgym.env.arrays import Doubles

Need = Literal["slot_propensity", "slot_marginal", "inclusion", "pseudo_inverse", "model", "slot_model"]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Inputs:
    """What estimators are computed from; ratios are taken when first asked for."""

    log: LoggedSlates
    target: TargetPropensities | None
    model: ModelValues | None = None

    def has(self, need: Need) -> bool:
        """Whether log and target give it."""
        if need == "model":
            return self.model is not None
        if need == "slot_model":
            return self.model is not None and self.model.slot_q is not None and self.model.slot_q_pi is not None
        if need == "pseudo_inverse":
            return self.target is not None and self.target.pseudo_inverse is not None
        if self.target is None:
            return False
        return getattr(self.log, need) is not None and getattr(self.target, need) is not None

    @cached_property
    def rho(self) -> Doubles:
        """Ratios of slot propensities, (n, K)."""
        return known(self.target).slot_propensity / self.log.slot_propensity

    @property
    def marginal_ratio(self) -> Doubles:
        """Ratios of slot marginals, (n, K)."""
        return known(known(self.target).slot_marginal) / known(self.log.slot_marginal)

    @property
    def inclusion_ratio(self) -> Doubles:
        """Ratios of inclusion probabilities, (n, K)."""
        return known(known(self.target).inclusion) / known(self.log.inclusion)


@dataclass(frozen=True)
class Estimator:
    """One line of a report."""

    needs: tuple[Need, ...]
    unbiased_when: str
    compute: Callable[[Inputs], Estimate]
    weighs: bool = True
    """Whether it weighs by propensities; the direct method does not."""


ESTIMATORS: dict[str, Estimator] = {
    "sips": Estimator(("slot_propensity",), "always", lambda i: sips(i.rho, i.log.reward)),
    "snsips": Estimator(("slot_propensity",), "always, in the limit", lambda i: snsips(i.rho, i.log.reward)),
    "rips": Estimator(("slot_propensity",), "cascade", lambda i: rips(i.rho, i.log.reward)),
    "snrips": Estimator(("slot_propensity",), "cascade, in the limit", lambda i: snrips(i.rho, i.log.reward)),
    "iips": Estimator(("slot_marginal",), "article and position", lambda i: iips(i.marginal_ratio, i.log.reward)),
    "sniips": Estimator(
        ("slot_marginal",), "article and position, in the limit", lambda i: sniips(i.marginal_ratio, i.log.reward)
    ),
    "inclusion_ips": Estimator(
        ("inclusion",), "article only", lambda i: inclusion_ips(i.inclusion_ratio, i.log.reward)
    ),
    "pseudo_inverse": Estimator(
        ("pseudo_inverse",),
        "slate reward additive over (position, article)",
        lambda i: pseudo_inverse(known(known(i.target).pseudo_inverse), i.log.reward.sum(axis=1)),
    ),
    "cascade_dr": Estimator(
        ("slot_propensity", "model"),
        "cascade, any model",
        lambda i: cascade_dr(i.rho, i.log.reward, known(i.model).q, known(i.model).q_pi),
    ),
    "iips_dr": Estimator(
        ("slot_marginal", "slot_model"),
        "article and position, any model",
        lambda i: iips_dr(
            i.marginal_ratio, i.log.reward, known(known(i.model).slot_q), known(known(i.model).slot_q_pi)
        ),
    ),
    "sniips_dr": Estimator(
        ("slot_marginal", "slot_model"),
        "article and position, any model, in the limit",
        lambda i: sniips_dr(
            i.marginal_ratio, i.log.reward, known(known(i.model).slot_q), known(known(i.model).slot_q_pi)
        ),
    ),
    "dm": Estimator(("model",), "the model is right", lambda i: dm(known(i.model).q_pi[:, 0]), weighs=False),
}
DEFAULT = ("sniips", "snrips", "cascade_dr", "dm")
"""Side by side: agreement of estimators with different assumptions is the message."""


def known(value: _T | None) -> _T:
    """What was checked to be there."""
    assert value is not None
    return value
