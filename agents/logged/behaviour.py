"""Propensities of a log that has none, for off-policy evaluation (docs/mathematics.md 3.1 ``estimated``, and 5).

The logging policy is taken for a slate policy (docs/mathematics.md 2.1) of what a site can see, over all live articles:
with chance eps a visit's slate is uniform, else Plackett-Luce with logits

    z = f(article, age, counters) + u(reader) . v(article)

f, u, v and eps are those under which the logged slates are likeliest, whole slates in order, with a ridge. From them
follow slot propensities, slot marginals and inclusion, as for any such policy. What the logger knew and the log
does not (rules, other features, a shortlist) stays unknown: estimates that rest on this are marked.
Shapes: n visits of a tick, N live articles, m drawn of them, B visits of a batch, K positions, F columns of an article,
c of what moves, R of a reader. Time is in hours.
"""

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.logged.policy import BehaviourConfig, LoggedPolicy, slate_log_likelihood
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.serving import NUM_COUNTERS, site_counters
from feedgym.agents.slate_policy import Draw, SlateMarginals, slate_chances, slate_marginals
from feedgym.env.arrays import Bools, Doubles, Floats, Ints
from feedgym.env.checks import require
from feedgym.towers.plain_torch import eager

_CATEGORY_COLUMNS = 64
"""One column for each topic and each publisher, up to these; larger ids share."""
_AGE_HOURS = (6.0, 24.0)


class _Tick(NamedTuple):
    """What is kept of one tick."""

    num_live: int
    drawn: Floats
    """Articles drawn from the live ones, (m, F + c)."""
    drawn_id: Ints
    shown_id: Ints
    """(n, K), -1 where nothing was shown."""
    shown: Floats
    """(n, K, F + c)"""
    reader: Floats
    """(n, R)"""


class FittedBehaviour:
    """The estimated logging policy. Made by :func:`fit_behaviour`."""

    def __init__(self, policy: LoggedPolicy, config: BehaviourConfig, num_visits: int) -> None:
        self.policy, self.config = policy, config
        self.num_visits = num_visits
        """Visits that it was learned from."""

    @property
    def epsilon(self) -> float:
        """Estimated chance that a visit explores."""
        return float(self.policy.epsilon.detach())

    @torch.no_grad()
    def propensities(self, site: LoggedSite) -> tuple[Doubles, SlateMarginals]:
        """Estimated chances of this tick's logged slates: slot propensities float64 (n, K), and marginals."""
        live = np.sort(site.catalogue.article_id)
        f, v = self.policy.of_articles(torch.from_numpy(article_columns(site, live)))
        u = self.policy.of_readers(torch.from_numpy(reader_columns(site)))
        logits = (f + torch.einsum("nd,md->nm", u, v)).double().numpy()
        return chances(site.logged.article_id, live, logits, self.epsilon)


def chances(shown: Ints, live: Ints, logits: Doubles, epsilon: float) -> tuple[Doubles, SlateMarginals]:
    """Chances of slates (n, K) under the slate policy over all live articles, see :class:`FittedBehaviour`.

    Args:
        shown: articles, live or -1, distinct in a row, int64 (n, K).
        live: live articles, rising, (N,).
        logits: of all of them, float64 (n, N).
        epsilon: chance that a visit explores, above 0.
    """
    listed = np.broadcast_to(live, logits.shape)
    draw = Draw.of(logits, listed, len(live), epsilon, shown.shape[1], check=False)
    _, slot = slate_chances(shown, draw)
    return np.where(shown >= 0, slot, 1.0), slate_marginals(shown, draw)


def fit_behaviour(
    site: LoggedSite, *, until_hours: float = math.inf, seed: int = 0, config: BehaviourConfig | None = None
) -> FittedBehaviour:
    """Estimate who logged, from all impressions before ``until_hours``, clicked or not.

    Args:
        site: the log, at its first tick; it is gone through.
        until_hours: visits from here on are not looked at.
        seed: of draws, batches and first weights.
        config: sizes and steps.

    Raises:
        ValueError: no visit before that hour; whatever is wrong in the log.
    """
    c = config if config is not None else BehaviourConfig()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0xBE4A,)))
    ticks = _collect(site, until_hours, c, rng)
    num_visits = sum(len(tick.shown_id) for tick in ticks)
    require(num_visits > 0, "until_hours", until_hours, "a time after the log's first visit")
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    articles = np.concatenate([tick.drawn for tick in ticks])
    static = articles.shape[1] - (1 + len(_AGE_HOURS) + NUM_COUNTERS)
    policy = LoggedPolicy(articles, static, np.concatenate([tick.reader for tick in ticks]), c, generator)
    optimiser = eager(torch.optim.Adam)(policy.parameters(), lr=c.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(1.0 - step / c.steps, 0.01))
    shown = sum(int(np.count_nonzero(tick.shown_id >= 0)) for tick in ticks)
    for _ in range(c.steps):
        batch = [ticks[i] for i in rng.choice(len(ticks), min(c.batch_ticks, len(ticks)), replace=False)]
        count = sum(int(np.count_nonzero(tick.shown_id >= 0)) for tick in batch)
        loss = -_log_likelihood(policy, batch).sum() / max(count, 1) + c.ridge / max(shown, 1) * policy.penalty()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return FittedBehaviour(policy, c, num_visits)


def _log_likelihood(policy: LoggedPolicy, ticks: Sequence[_Tick]) -> Tensor:
    """Log chances of the ticks' slates, float64 (B,); the sum over all live articles is one over the drawn ones."""
    drawn_f, drawn_v = policy.of_articles(torch.from_numpy(np.stack([tick.drawn for tick in ticks])))  # (G, m)
    tick_of = torch.from_numpy(np.repeat(np.arange(len(ticks)), [len(tick.shown_id) for tick in ticks]))
    u = policy.of_readers(torch.from_numpy(np.concatenate([tick.reader for tick in ticks])))
    f, v = policy.of_articles(torch.from_numpy(np.concatenate([tick.shown for tick in ticks])))
    shown_id = np.concatenate([tick.shown_id for tick in ticks])
    valid = shown_id >= 0
    drawn_id = np.stack([tick.drawn_id for tick in ticks])[tick_of.numpy()]
    outside: Bools = (drawn_id >= 0) & ~(drawn_id[:, :, None] == shown_id[:, None, :]).any(axis=2)
    count = np.maximum(outside.sum(axis=1), 1)
    num_live = np.array([tick.num_live for tick in ticks])[tick_of.numpy()]
    each = np.maximum(num_live - valid.sum(axis=1), 1e-12) / count
    logits = (drawn_f[tick_of] + torch.einsum("bd,bmd->bm", u, drawn_v[tick_of])).double()
    rest = torch.logsumexp(torch.where(torch.from_numpy(outside), logits, -1e9), dim=1) + torch.from_numpy(np.log(each))
    shown = (f + torch.einsum("bd,bkd->bk", u, v)).double()
    lives = torch.from_numpy(num_live.astype(np.float64))
    return slate_log_likelihood(shown, torch.from_numpy(valid), rest, lives, policy.epsilon)


def _collect(site: LoggedSite, until_hours: float, config: BehaviourConfig, rng: np.random.Generator) -> list[_Tick]:
    """The latest ticks with visits, as many as the settings allow; of fewer than ``draws`` articles the rest is -1."""
    kept: deque[_Tick] = deque()
    visits = 0
    while not site.done and site.now < until_hours - 1e-9:
        live = site.catalogue.article_id
        if len(site.visits) and len(live):
            drawn_id: Ints = np.full(config.draws, -1, dtype=np.int64)
            drawn = live if len(live) <= config.draws else rng.choice(live, config.draws, replace=False)
            drawn_id[: len(drawn)] = drawn
            shown_id = np.where(np.isin(site.logged.article_id, live), site.logged.article_id, -1)
            columns = article_columns(site, np.maximum(np.concatenate([drawn_id, shown_id.ravel()]), 0))
            shown = columns[config.draws :].reshape(*shown_id.shape, -1)
            kept.append(_Tick(len(live), columns[: config.draws], drawn_id, shown_id, shown, reader_columns(site)))
            visits += len(shown_id)
            while visits > config.most_visits and len(kept) > 1:
                visits -= len(kept.popleft().shown_id)
        site.advance()
    return list(kept)


def article_columns(site: LoggedSite, article_id: Ints) -> Floats:
    """What a site can see of articles now, float32 (m, F + c): features, categories; then age and counters."""
    catalogue = site.catalogue
    categories = catalogue.categories_of(article_id)
    parts = [catalogue.features_of(article_id)]
    for k in range(2):
        size = min(catalogue.category_sizes[k], _CATEGORY_COLUMNS)
        parts.append(np.eye(size, dtype=np.float32)[categories[:, k] % size])
    age = np.maximum(catalogue.now - catalogue.published_hours_of(article_id), 0.0)
    moving = [np.log1p(age), *(np.exp(-age / hours) for hours in _AGE_HOURS)]
    parts += [np.stack(moving, axis=1).astype(np.float32), site_counters(catalogue, article_id)]
    return np.concatenate(parts, axis=1)


def reader_columns(site: LoggedSite) -> Floats:
    """What a site can see of this tick's readers, float32 (n, R): device, gap, visits, hour, mean of their clicks."""
    visits, catalogue = site.visits, site.catalogue
    history = visits.history_id
    known = history >= 0
    count = known.sum(axis=1, keepdims=True)
    clicked = catalogue.features_of(np.where(known, history, 0).ravel()).reshape(*history.shape, -1)
    mean = np.einsum("nl,nlf->nf", known.astype(np.float32), clicked) / np.maximum(count, 1)
    angle = 2.0 * math.pi * (visits.now % 24.0) / 24.0
    hour = np.broadcast_to([math.sin(angle), math.cos(angle)], (len(visits), 2))
    parts = [visits.features, np.log1p(visits.gap_hours)[:, None], np.log1p(visits.visit)[:, None], hour]
    return np.concatenate([*parts, np.log1p(count), mean], axis=1).astype(np.float32)
