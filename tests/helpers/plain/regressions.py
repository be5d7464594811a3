"""Losses of regression by plain loops over slates."""

import math
from typing import Any

from feedgym.agents.learners.replay import VisitBatch
from feedgym.agents.learners.settings import RegressionConfig


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def plain_target(task: str, row: VisitBatch, k: int, next_id: int) -> float:
    clicked = bool(row.clicks[0, k])
    values = {
        "click": float(clicked),
        "dwell": float(row.dwell_minutes[0, k]),
        "subscription": float(clicked and row.subscribed[0]),
        "next": float(row.article_id[0, k] == next_id),
        "completed": float(clicked and row.dwell_minutes[0, k] >= 1.5),
    }
    return values[task]


def plain_part(
    config: RegressionConfig,
    task: str,
    slates: list[list[tuple[int, float, float]]],
    second_stage: bool,
    luck: Any = None,
) -> float:
    """Loss of one task; a slate is a list of (position, prediction, target)."""
    chance = config.examination if isinstance(config.examination, float) and not second_stage else 1.0
    total = mass = 0.0
    for b, slate in enumerate(slates):
        won, lost = [e for e in slate if e[2] > 0], [e for e in slate if e[2] <= 0]
        if config.loss == "slate_softmax":
            for k, s, y in won if lost else []:
                weight = y if task == "dwell" else 1.0
                rivals = lost
                if config.slate_negatives is not None:
                    # Those of the lowest numbers, in the row of the click.
                    rivals = sorted(lost, key=lambda e: luck[b, k, e[0]])[: config.slate_negatives]
                rest = sum(math.exp(other) for _, other, _ in rivals)
                total, mass = total + weight * (math.log(math.exp(s) + rest) - s), mass + weight
        elif config.loss == "slate_bpr":
            for _, s, y in won:
                for _, other, _ in lost:
                    weight = y if task == "dwell" else 1.0
                    total, mass = total + weight * softplus(other - s), mass + weight
        else:
            for k, s, y in slate:
                theta = chance**k
                if task == "dwell":
                    loss = (theta * s - y) ** 2
                elif config.loss == "ips" and not second_stage:
                    boost = min(1 / theta, config.ips_clip or math.inf)
                    loss = y * boost * softplus(-s) + (1 - y * boost) * softplus(s)
                else:
                    odds = 1 / (math.exp(-s) + 1 - theta) * theta / config.negative_keep_rate
                    loss = -math.log(odds / (1 + odds) if y else 1 / (1 + odds))
                total, mass = total + loss, mass + 1
    return total / mass
