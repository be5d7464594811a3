"""Evaluation in tables: means over seeds of what :class:`~feedgym.experiments.measures.evaluation.Evaluation` found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from feedgym.experiments.measures import AGES, CLICKED, METRICS, ReliabilityBin

RANKING_NAMES = (*METRICS, *(f"{metric}/{age}" for metric in METRICS for age in AGES))
"""All numbers of a ranking: over all articles, then by the age of the relevant one."""
_TITLES = ("recall@10", "recall@100", "NDCG@10", "MRR")


@dataclass(frozen=True)
class Evaluated:
    """One agent, means over seeds."""

    relevance: str = ""
    """What relevance was; empty if nothing was evaluated."""
    visits: int = 0
    """Evaluated in all runs together."""
    ranking: Mapping[str, float] = field(default_factory=dict)
    """By name, see ``RANKING_NAMES``; names without a relevant article are missing."""
    reliability: tuple[ReliabilityBin, ...] = ()
    """Lowest predictions first; empty for agents that predict no clicks."""


class Shown(Protocol):
    """A row of the ranking table, as far as it is needed here."""

    @property
    def name(self) -> str:
        """The agent, as shown."""
        ...

    @property
    def evaluated(self) -> Evaluated:
        """What was found."""
        ...


def mean_evaluation(found: Sequence[Mapping[str, Any] | None]) -> Evaluated:
    """Mean over an agent's runs, from their summaries; those without one are passed over.

    The reliability bins of the runs are put together by their place, each by its impressions.
    """
    known = [one for one in found if one is not None]
    if not known:
        return Evaluated()
    names = [name for name in RANKING_NAMES if any(name in one["ranking"] for one in known)]
    return Evaluated(
        relevance=known[0]["relevance"],
        visits=sum(one["visits"] for one in known),
        ranking={name: float(np.mean([o["ranking"][name] for o in known if name in o["ranking"]])) for name in names},
        reliability=_pooled([one["reliability"] for one in known]),
    )


def _pooled(tables: Sequence[Sequence[Mapping[str, Any]]]) -> tuple[ReliabilityBin, ...]:
    pooled = []
    for place in range(max(map(len, tables), default=0)):
        bins = [table[place] for table in tables if place < len(table)]
        count = sum(one["impressions"] for one in bins)
        prediction, rate = (
            sum(one[name] * one["impressions"] for one in bins) / count for name in ("prediction", "click_rate")
        )
        pooled.append(ReliabilityBin(prediction, rate, count))
    return tuple(pooled)


def csv_names() -> list[str]:
    """Columns of ``ranking.csv``."""
    return [name.replace("/", "_") for name in RANKING_NAMES]


def csv_values(evaluated: Evaluated) -> list[float | str]:
    """Values of :func:`csv_names`; empty where there is none."""
    return [evaluated.ranking.get(name, "") for name in RANKING_NAMES]


def ranking_cells(rows: Sequence[Shown]) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the table of rankings, agents in the order given; "-" where there is no number."""
    by_age = [f"{_TITLES[1]} {age.replace('_', ' ')}" for age in AGES]
    names = (*METRICS, *(f"{METRICS[1]}/{age}" for age in AGES))
    cells = [
        [
            str(place),
            row.name,
            *(f"{row.evaluated.ranking[n]:.3f}" if n in row.evaluated.ranking else "-" for n in names),
        ]
        for place, row in enumerate(rows, 1)
    ]
    return ["", "agent", *_TITLES, *by_age], cells


def ranking_remarks(rows: Sequence[Shown]) -> list[str]:
    """How to read the table; nothing if no ranking was evaluated."""
    seen = [row.evaluated for row in rows if row.evaluated.ranking]
    if not seen:
        return []
    remarks = [
        "Every live article is ranked, none is sampled; ties count as in random order. Ages are of the relevant one.",
        f"Relevance: {seen[0].relevance}. Visits: at least {min(e.visits for e in seen):,} of each agent, means over "
        "visits, then over seeds.",
    ]
    if any(one.relevance == CLICKED for one in seen):
        remarks.append(
            "Biased by exposure: an article that was not shown cannot have been clicked, so each agent is measured "
            "on its own slates. Do not rank agents by it."
        )
    else:
        remarks.append(
            "Gains are chances: recall@k is the chance that one article, drawn in proportion to its chance of a click, "
            "is among the first k. Each agent meets readers as it has made them: what they have seen is less relevant."
        )
    return remarks


def reliability_cells(evaluated: Evaluated) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of one agent's reliability table; the last row is all impressions."""
    bins = list(evaluated.reliability)
    count = sum(one.impressions for one in bins)
    total = ReliabilityBin(
        sum(one.prediction * one.impressions for one in bins) / count,
        sum(one.click_rate * one.impressions for one in bins) / count,
        count,
    )
    named = [*((str(place), one) for place, one in enumerate(bins, 1)), ("all", total)]
    rows = [
        [
            *(name, f"{one.prediction:.4f}", f"{one.click_rate:.4f}"),
            f"{one.prediction / one.click_rate:.3f}" if one.click_rate > 0 else "-",
            f"{one.impressions:,}",
        ]
        for name, one in named
    ]
    return ["tenth", "mean prediction", "click rate", "ratio", "impressions"], rows
