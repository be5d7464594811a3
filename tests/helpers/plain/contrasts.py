"""Contrastive losses by plain loops over the rows and columns of a batch."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.settings import ContrastiveConfig
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.arrays import nest
from feedgym.towers.negatives import Memory, NegativeContext, Negatives
from helpers.draws import Recorder
from helpers.inside import acted_of, learner_of, learning_of, replay_of
from helpers.towers import DEEP_ALONE

SITE = FeedConfig(num_readers=150, days=9.0, tick_hours=1.0, slate_size=4, newsroom=NewsroomConfig(articles_per_day=60))

HOURS = 30.0

SMALL: dict[str, Any] = {"batch_clicks": 12, "num_negatives": 9, "hard_negatives": 3}


@dataclass
class Logged:
    """An agent after a day of random slates and some trainings, and what plain loops need of its site."""

    agent: Any
    expires_hours: np.ndarray
    shortlists: list[np.ndarray] = field(default_factory=list)
    """What retrieval returned for each visit of each tick, as acting saw it."""


def logged_agent() -> Logged:
    feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=-0.5, subscribe_hazard=0.05)), seed=2)
    settings: dict[str, Any] = {"negatives": "hard", "epsilon": 1.0, "shortlist_size": 12, "max_steps": 5}
    settings["propensity_cap"] = 10.0  # its replay keeps the chances
    agent: Any = make_agent("contrastive", replay_visits=200, **DEEP_ALONE, **settings).start(feed)
    shortlists = []
    while feed.now < HOURS:
        served = agent.act(feed.visits, feed.catalogue)
        shortlists.append(acted_of(agent).served.draw.shortlist.copy())
        agent.learn(feed.serve(served.article_id))
    assert replay_of(agent).total > len(replay_of(agent))  # wrapped
    # Who subscribes is rare on so small a site: say that every third visit did.
    replay_of(agent).column("subscribed")[::3] = True
    # Nor are all slates as likely as each other under a policy that has learned.
    inclusion = replay_of(agent).column("inclusion")
    inclusion[:] = np.random.default_rng(1).uniform(0.01, 0.5, inclusion.shape)
    return Logged(agent, feed.catalogue.archive.column("expires_hours").copy(), shortlists)


Draw = tuple[NegativeContext, Negatives]


def noting_learner(logged: Logged, **settings: Any) -> tuple[ContrastiveLearner, list[Draw]]:
    """A learner that knows the agent's clicks, and the list that its negatives will be noted in."""
    learner = ContrastiveLearner(ContrastiveConfig(**(SMALL | settings)))
    sampler: Any = learner._sampler
    memory = nest("memory", sampler.snapshot()) if isinstance(sampler, Memory) else {}
    learner.restore(learner_of(logged.agent).snapshot() | memory)
    learner.begin(learning_of(logged.agent), HOURS)
    draws: list[Draw] = []
    draw = sampler.draw

    def noted(context: NegativeContext, rng: Any) -> Negatives:
        draws.append((context, draw(context, rng)))
        return draws[-1][1]

    object.__setattr__(sampler, "draw", noted)
    return learner, draws


class Plain:
    """u' and v' one by one, in batches of one, and inner products in float64."""

    def __init__(self, logged: Logged) -> None:
        self.agent, self._items = logged.agent, {}  # type: ignore[var-annotated]
        self.t_ref = 0.0

    @torch.no_grad()
    def user(self, slot: int, now: float) -> np.ndarray:
        agent = self.agent
        row = replay_of(agent).take(np.array([slot]))
        known = row.history_id >= 0
        past = torch.from_numpy(agent.store.vector[np.where(known, row.history_id, 0)])
        user = agent.model.embed_users(past, torch.from_numpy(known), torch.from_numpy(row.reader))
        vector: np.ndarray = agent.model.augment_users(user, now, self.t_ref)[0].double().numpy()
        return vector

    @torch.no_grad()
    def constant(self, slot: int, now: float) -> float:
        """What the product of the columns lacks to be the score."""
        row = replay_of(self.agent).take(np.array([slot]))
        return float(self.agent.model.constant(learning_of(self.agent).users(row), now, self.t_ref))

    @torch.no_grad()
    def item(self, article: int) -> np.ndarray:
        if article not in self._items:
            store, one = self.agent.store, [article]
            features = torch.from_numpy(store.numeric[one]), torch.from_numpy(store.categorical[one])
            vector, bias = self.agent.model.embed_items(*features)
            published = torch.from_numpy(store.published_hours[one])
            both = self.agent.model.augment_items(vector, bias, published, self.t_ref)
            self._items[article] = both[0].double().numpy()
        found: np.ndarray = self._items[article]
        return found


def clicks_of(agent: Any) -> list[tuple[int, int]]:
    """Slot and position of all clicks in the replay, oldest first."""
    replay = replay_of(agent)
    order = np.roll(np.arange(len(replay)), -(replay.total % len(replay)))
    return [(int(s), int(k)) for s in order for k in np.flatnonzero(replay.column("clicks")[s])]


def rows_of(logged: Logged, config: ContrastiveConfig, task: str, start: int) -> list[tuple[int, int, int]]:
    """Slot, position and slot that the reader is seen from, of each row of a batch."""
    replay, clicks = replay_of(logged.agent), clicks_of(logged.agent)
    every = replay.take(np.arange(len(replay)))
    if config.clicks_per_reader is not None:
        # The newest of each reader, counted from the end.
        seen: dict[int, int] = {}
        kept = []
        for s, k in reversed(clicks):
            reader = int(every.row[s])
            seen[reader] = seen.get(reader, 0) + 1
            if seen[reader] <= config.clicks_per_reader:
                kept.append((s, k))
        clicks = kept[::-1]
    stretch = clicks[start : start + config.batch_clicks]
    if task != "next":
        return [(s, k, s) for s, k in stretch]
    rows = []
    for s, k in stretch:
        earlier = [(every.now[b], b) for b in range(len(replay)) if every.row[b] == every.row[s]]
        earlier = sorted(e for e in earlier if e[0] < every.now[s])
        if earlier and not every.clicks[s, :k].any():
            rows.append((s, k, int(earlier[-1][1])))
    return rows


def softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def log_sum(values: list[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def plain_loss(
    logged: Logged, config: ContrastiveConfig, task: str, draw: Draw, start: int, mistake: str = ""
) -> float:
    """One task's loss, row by row and column by column; log q and drawn ids are those of ``draw``."""
    agent, negatives, plain = logged.agent, draw[1], Plain(logged)
    every = replay_of(agent).take(np.arange(len(replay_of(agent))))
    rows = rows_of(logged, config, task, start)
    ids = [int(every.article_id[s, k]) for s, k, _ in rows]
    assert ids == draw[0].positive_ids.tolist()
    plain.t_ref = float(every.now[rows[-1][0]])
    published, expires, by_row = agent.store.published_hours, logged.expires_hours, config.negatives_live
    first = float(every.now[rows[0][0]]) if by_row else plain.t_ref
    live = [a for a in range(len(agent.store)) if (published[a] <= plain.t_ref and first < expires[a]) or a in ids]

    def was_live(article: int, slot: int) -> bool:
        """At the row's own time, where that counts."""
        return not by_row or bool(published[article] <= every.now[slot] < expires[article])

    total = mass = 0.0
    for i, (s, k, seen_from) in enumerate(rows):
        if math.isinf(negatives.log_q_positive[i]):
            continue  # it cannot be among the negatives
        user = plain.user(s if mistake == "seen" else seen_from, float(every.now[s]))
        own, own_q = float(user @ plain.item(ids[i])), float(negatives.log_q_positive[i])
        columns = []  # article, its log q
        if negatives.in_batch:
            columns += [(ids[j], float(negatives.log_q_positive[j])) for j in range(len(rows)) if j != i]
        columns += list(zip(negatives.shared_ids.tolist(), negatives.log_q_shared.tolist(), strict=True))
        both = zip(negatives.row_ids[i].tolist(), negatives.log_q_row[i].tolist(), strict=True)
        columns += [(a, q) for a, q in both if a >= 0]
        drawn, columns = len(columns), [(a, q) for a, q in columns if was_live(a, s) and not math.isinf(q)]
        if not columns and config.loss != "full_softmax":
            continue
        apart = [(a, q) for a, q in columns if a != ids[i]]
        scored = {a: float(user @ plain.item(a)) for a, _ in columns}
        t = config.softmax_temperature
        if config.loss == "softmax":
            if config.correction == "full" and not apart:
                continue
            if config.correction == "nce":
                others, own = [scored[a] / t - q for a, q in columns], own / t - own_q
            elif config.correction == "full":
                others, own = [scored[a] / t - q for a, q in apart], own / t
            else:
                others, own = [scored[a] / t for a, _ in columns], own / t
            loss = log_sum([own, *others]) - own
        elif config.loss == "sampled_softmax":
            loss = log_sum([own / t, *(scored[a] / t for a, _ in columns)]) - own / t
        elif config.loss == "full_softmax":
            loss = log_sum([float(user @ plain.item(a)) / t for a in live if was_live(a, s)]) - own / t
        elif config.loss == "bpr":
            if not apart:
                continue
            loss = sum(softplus(scored[a] - own) for a, _ in apart) / len(apart)
        elif config.loss == "bce":
            lacking = plain.constant(s, float(every.now[s]))
            loss = softplus(-own - lacking) + sum(softplus(scored[a] + lacking) for a, _ in columns)
        elif config.loss == "gbce":
            m, n = drawn, max(len(live), drawn + 1)
            alpha = m / (n - 1)
            beta = alpha * (config.gbce_t * (1 - 1 / alpha) + 1 / alpha)
            lacking = plain.constant(s, float(every.now[s]))
            own, scored = own + lacking, {a: score + lacking for a, score in scored.items()}
            loss = (beta * softplus(-own) + sum(softplus(scored[a]) for a, _ in columns)) / (1 + m)
        else:
            if not apart:
                continue
            d = agent.model.config.dim  # of the vectors alone, without bias and age
            push = [max(cosine(user[:d], plain.item(a)[:d]) - config.ccl_margin, 0.0) for a, _ in apart]
            loss = 1 - cosine(user[:d], plain.item(ids[i])[:d]) + config.ccl_negative_weight * sum(push) / len(push)
        weight = 1.0
        if task == "dwell" or config.dwell_weight:
            weight *= float(every.dwell_minutes[s, k])
        if task == "subscription":
            weight *= float(every.subscribed[s])
        if task == "completed":
            weight *= float(every.dwell_minutes[s, k] >= config.completed_minutes)
        if config.propensity_cap is not None:
            assert every.inclusion is not None
            weight *= min(1 / float(every.inclusion[s, k]), config.propensity_cap)
        if config.examination is not None:
            weight /= config.examination**k
        total, mass = total + weight * loss, mass + weight
    return total / mass


def both_losses(logged: Logged, seed: int = 6, **settings: Any) -> tuple[float, float]:
    """The learner's loss, and that of plain loops."""
    learner, draws = noting_learner(logged, **settings)
    rng: Any = Recorder(seed)
    if isinstance(learner._sampler, Memory):
        assert learner.loss(learning_of(logged.agent), rng) is not None  # something to remember
        draws.clear()
        rng.drawn.clear()
    loss = learner.loss(learning_of(logged.agent), rng)
    assert loss is not None
    assert len(draws) == len(learner.tasks)
    start = int(rng.drawn[0])
    parts = [
        weight * plain_loss(logged, learner.config, task, draw, start)
        for (task, weight), draw in zip(learner.tasks, draws, strict=True)
    ]
    return loss.item(), sum(parts)
