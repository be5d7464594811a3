"""Logs drawn at kept states: slates of the logger, what three kinds of readers did, what the targets think of it.

The three kinds look at a page differently and are alike in everything else: each makes another estimator the right one.
Truth is expected reward: of slates that a target draws at the same states.
Shapes: n visits, K positions, N live articles, b visits of one tick, M shortlist, V kept visits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from feedgym.agents.ope import LoggedSlates, ModelValues, TargetPropensities, mixed_expectation
from feedgym.agents.slate_policy import (
    Draw,
    columns_in_shortlist,
    draw_slates,
    kept_share,
    slate_chances,
    slate_marginals,
    softmax_of,
)
from feedgym.env.arrays import AnyArray, Doubles, Floats, Ints, rows_of, taken_at
from feedgym.env.noise import Noise
from feedgym.env.readers import CascadeReader, NewsReader, NewsReaderConfig, SlateView
from feedgym.experiments.measures import examination_of, expected_slate_reward
from feedgym.experiments.studies.known_truth.ope_states import LOGGER, States, TickStates

READERS = ("article", "position", "cascade")
"""A click follows from the article alone; from article and position; from the articles above as well."""
CHANCES = ("slot_propensity", "slot_marginal", "inclusion")
"""Columns of a log."""
_BLOCK = 20_000
"""Slates of the truth that are drawn at once."""


def reader_models(config: NewsReaderConfig, centers: Floats) -> dict[str, NewsReader]:
    """The default reader's page looked at in three ways; state and all else are the same."""
    flat = dataclasses.replace(config, position_bias=False)
    return {
        "article": NewsReader(flat, centers=centers),
        "position": NewsReader(config, centers=centers),
        "cascade": CascadeReader(config, centers=centers),
    }


@dataclass(frozen=True)
class Scored:
    """What the reward model is fed with, for one target."""

    kept: Doubles
    """Chance that its visit does not explore, given the logged articles above, (n, K)."""
    p: Doubles
    """The target's softmax of the logged articles, (n, K)."""
    mean: Doubles
    """Mean score under that softmax, (n,)."""
    explored: Doubles
    """Mean score of the live articles, (n,)."""
    num_live: Ints
    """N, (n,)."""
    at_position: Doubles
    """Mean score of what the target's slates have at each position, (n, K)."""

    def select(self, rows: Ints) -> Scored:
        """Of some rows."""
        return rows_of(self, rows)


@dataclass(frozen=True)
class Drawn:
    """A log, once for each kind of reader, and each target's view of it."""

    log: LoggedSlates
    """With rewards of 0; propensities are the logger's."""
    reward: Mapping[str, Doubles]
    """Minutes read, by kind of reader, (n, K)."""
    targets: Mapping[str, TargetPropensities]
    score: Doubles
    """Of what was shown, (n, K)."""
    scored: Mapping[str, Scored]
    """By target."""

    def logged(self, kind: str) -> LoggedSlates:
        """The log of one kind of readers."""
        return dataclasses.replace(self.log, reward=self.reward[kind])


@dataclass(frozen=True)
class Truth:
    """Of one policy, from slates that it draws at every kept state."""

    reward: Mapping[str, float]
    """Expected reward a visit, by kind of reader: the mean over all kept states."""
    error: Mapping[str, float]
    """Standard error of that: of slates, not of states."""
    score: Doubles
    """Mean score at each position, (V, K)."""


def draw(
    states: States, models: Mapping[str, NewsReader], truths: Mapping[str, Truth], visits: Ints, entry: Ints, seed: int
) -> Drawn:
    """Log ``visits`` (n,), numbers of kept visits, once more; ``entry`` (n,) says whose they are in this log.

    Args:
        states: where.
        models: the kinds of readers, by name.
        truths: of every target, for the reward model.
        visits: which; one may be there several times, with other slates and luck each time.
        entry: int64 (n,).
        seed: of slates and outcomes; nothing else is random. Not one that a world has: its luck would come again.
    """
    rng = np.random.default_rng(seed)
    tick_of = np.searchsorted(states.first, visits, side="right") - 1
    order = np.argsort(tick_of, kind="stable")
    parts = []
    for place in np.unique(tick_of):
        some = order[slice(*np.searchsorted(tick_of[order], (place, place + 1)))]
        row = visits[some] - states.first[place]
        parts.append(_draw_tick(states, states.ticks[place], models, tuple(truths), row, some, rng, seed))
    back = np.argsort(order)
    columns = {key: np.concatenate([part[key] for part in parts])[back] for key in parts[0]}
    named: dict[str, Any] = {
        name: columns[name, LOGGER] for name in ("article_id", "epsilon", "num_live", "made_hours", *CHANCES)
    }
    nothing = np.zeros(named["article_id"].shape)
    log = LoggedSlates(reader_id=entry, reward=nothing, greedy=np.zeros(len(visits), dtype=np.bool_), **named)
    targets = {
        name: TargetPropensities(**{chance: columns[chance, name] for chance in CHANCES}, num_live=log.num_live)
        for name in truths
    }
    scored = {
        name: Scored(
            kept=columns["kept", name],
            p=columns["p", name],
            mean=columns["mean", name],
            explored=columns["explored", LOGGER],
            num_live=columns["num_live", LOGGER],
            at_position=truth.score[visits],
        )
        for name, truth in truths.items()
    }
    return Drawn(log, {kind: columns["reward", kind] for kind in models}, targets, columns["score", LOGGER], scored)


def _draw_tick(
    states: States,
    tick: TickStates,
    models: Mapping[str, NewsReader],
    targets: tuple[str, ...],
    row: Ints,
    number: Ints,
    rng: np.random.Generator,
    seed: int,
) -> dict[tuple[str, str], AnyArray]:
    """A slate and its outcomes for visits ``row`` (b,) of one tick, which are ``number`` (b,) of the log."""
    chosen = tick.choices[LOGGER].rows(row)
    slates = draw_slates(rng, chosen, tick.live).article_id
    found: dict[tuple[str, str], AnyArray] = {
        ("article_id", LOGGER): slates,
        ("epsilon", LOGGER): np.broadcast_to(chosen.epsilon, len(row)),
        ("num_live", LOGGER): np.full(len(row), len(tick.live)),
        ("made_hours", LOGGER): np.full(len(row), tick.now),
        ("score", LOGGER): tick.score[row[:, None], tick.columns(slates)].astype(np.float64),
    }
    for name in (LOGGER, *targets):
        chances = propensities(tick.choices[name].rows(row), slates)
        found |= {(chance, name): values for chance, values in zip(CHANCES, chances, strict=True)}
    found["explored", LOGGER] = tick.score.mean(axis=1, dtype=np.float64)[row]
    for name in targets:
        choice = tick.choices[name].rows(row)
        found["kept", name] = kept_share(slates, choice)
        found["p", name], found["mean", name] = _softmax_of(tick, choice, slates, row)
    view = SlateView(states.archive, slates, np.ones(slates.shape, dtype=np.bool_), tick.now)
    for kind, model in models.items():
        # Draws are keyed by their number in this log: each has luck of its own, the same for all kinds.
        noise = Noise(seed, number, np.zeros(len(row), dtype=np.int64), slates)
        outcome = model.respond(tick.state_at(row), np.arange(len(row)), view, tick.now, noise)
        found["reward", kind] = outcome.dwell_minutes.astype(np.float64)
    return found


def propensities(choice: Draw, slates: Ints) -> Doubles:
    """Slot propensities, slot marginals and inclusions of slates (b, K), float64 (3, b, K)."""
    _, slot = slate_chances(slates, choice)
    found = slate_marginals(slates, choice)
    # A quadrature may leave 1 by its own error.
    return np.stack([slot, np.minimum(found.slot_marginal, 1.0), np.minimum(found.inclusion, 1.0)])


def _softmax_of(tick: TickStates, choice: Draw, slates: Ints, row: Ints) -> tuple[Doubles, Doubles]:
    """The softmax of what slates show, (b, K), and the mean score under it, (b,)."""
    listed, chance = choice.shortlist >= 0, np.exp(softmax_of(choice).log_p)
    score = tick.score[row[:, None], np.where(listed, tick.columns(choice.shortlist), 0)]
    return taken_at(chance, columns_in_shortlist(slates, choice.shortlist), 0.0), (chance * score).sum(axis=1)


def truth_of(states: States, models: Mapping[str, NewsReader], name: str, num_slates: int, seed: int) -> Truth:
    """What a policy earns at the kept states: the expected reward of ``num_slates`` of its slates at each."""
    rng = np.random.default_rng(seed)
    many = states.first[-1]
    total = {kind: np.zeros((2, many)) for kind in models}
    score = np.zeros((many, states.slate_size))
    for first, tick in zip(states.first, states.ticks, strict=False):
        for start in range(0, len(tick.reader), max(1, _BLOCK // num_slates)):
            row = np.arange(start, min(start + max(1, _BLOCK // num_slates), len(tick.reader)))
            each = np.repeat(row, num_slates)
            slates = draw_slates(rng, tick.choices[name].rows(each), tick.live).article_id
            shown = (each[:, None], tick.columns(slates))
            click, minutes = tick.click[shown].astype(np.float64), tick.minutes[shown].astype(np.float64)
            score[first + row] = tick.score[shown].reshape(len(row), num_slates, -1).mean(axis=1)
            for kind, model in models.items():
                look, stop = examination_of(model, tick.state, each, states.slate_size)
                earned = expected_slate_reward(click, minutes, look, stop).reshape(len(row), num_slates)
                total[kind][0, first + row] = earned.mean(axis=1)
                total[kind][1, first + row] = earned.var(axis=1) / num_slates
    reward = {kind: float(sums[0].mean()) for kind, sums in total.items()}
    error = {kind: float(np.sqrt(sums[1].sum()) / many) for kind, sums in total.items()}
    return Truth(reward, error, score)


@dataclass(frozen=True)
class RewardModel:
    """Reward of a position: a straight line in the logger's score, one for each position."""

    intercept: Doubles
    """(K,)"""
    slope: Doubles
    """(K,)"""

    @classmethod
    def fitted(cls, score: Doubles, reward: Doubles) -> RewardModel:
        """Least squares at each position: scores and rewards of a log (n, K)."""
        x = score - score.mean(axis=0)
        slope: Doubles = (x * reward).sum(axis=0) / np.square(x).sum(axis=0)
        return cls(reward.mean(axis=0) - slope * score.mean(axis=0), slope)

    def values(self, score: Doubles, target: Scored) -> ModelValues:
        """``Q_k``: the line at slot k, and what the target's slates have below it, whatever stands above.

        Args:
            score: of what was logged, (n, K).
            target: whose values.
        """
        alone = self.intercept + self.slope * score
        expected = self.intercept + self.slope * target.at_position
        below = np.cumsum(expected[:, ::-1], axis=1)[:, ::-1] - expected  # (n, K): positions after k
        # [k, j]: the article of slot j, had it stood in slot k.
        shown = (self.intercept + below)[:, :, None] + self.slope[:, None] * score[:, None, :]
        q_pi = mixed_expectation(
            target.kept,
            self.intercept + self.slope * target.mean[:, None] + below,
            target.p,
            self.intercept + self.slope * target.explored[:, None] + below,
            np.broadcast_to(1.0 / target.num_live[:, None], target.p.shape),
            shown,
        )
        return ModelValues(q=alone + below, q_pi=q_pi, slot_q=alone, slot_q_pi=expected)
