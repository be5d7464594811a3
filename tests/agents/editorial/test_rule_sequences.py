"""Random sequences of publishing, expiry, refreshes, searches and changes of rules: nothing is served that may not be.

For every kind of index and every serving mode; what was drawn is held against a plain recount of its chances.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from feedgym.agents import make_agent
from feedgym.agents.editorial.rules import COLUMNS, CapPerCategory, Exclude, MinimumShare, Pin, Rule, Rules
from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.retrieval.registry import INDEXES, make_index
from feedgym.agents.slate_policy.policy import PolicyConfig, boosts, eligible, only_eligible, serve
from feedgym.agents.slate_policy.served import Served
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from feedgym.env.arrays import Ints
from feedgym.experiments.measures.evaluation import visits_at
from helpers.inside import acted_of

SIZE, DIM, TOPICS, PUBLISHERS = 4, 4, 4, 3
KINDS = (
    "exact",
    "age-shards:shard_hours=6",
    "ivf:nlist=5+nprobe=2",
    "ivf-sq8:nprobe=4",
    "hnsw:m=4+ef=20",
    "auto:ivf_above=12+sq8_above=24",
)
"""Each kind, at sizes at which few articles have cells, tombstones and switches."""
Kind = Callable[[int], Sequence[int]]
"""Topic, publisher and author of an article."""


def test_every_kind_of_index_is_here() -> None:
    assert {kind.partition(":")[0] for kind in KINDS} == set(INDEXES)


# ---- the plain version ----
class Plain:
    """What rules allow, one position after the other, for one reader; by the words of docs/guide/editorial.md.

    Args:
        rules: of which ``exclude`` has been taken out of ``live`` already.
        kind: of each article.
        live: ids.
        logits: of the shortlist, by id.
        epsilon: share of exploration.
        size: positions of a slate.
    """

    def __init__(
        self,
        rules: Rules,
        kind: Kind,
        live: Sequence[int],
        logits: dict[int, float],
        epsilon: float,
        size: int = SIZE,
    ) -> None:
        self.rules, self.kind, self.size = rules, kind, size
        top = max(logits.values(), default=0.0)
        soft = {a: math.exp(z - top) for a, z in logits.items()}
        mass = sum(soft.values())
        self.weight = {a: epsilon / len(live) + (1 - epsilon) * soft.get(a, 0.0) / (mass or 1.0) for a in live}
        self.pinned: dict[int, int] = {}
        for pin in sorted(rules.pins, key=lambda pin: pin.position):
            if pin.article_id in self.weight:
                standing = {**self.pinned, pin.position: int(str(pin.article_id))}
                if all(self.count(standing.values(), c) <= c.most for c in self.caps_on(standing[pin.position])):
                    self.pinned = standing

    def is_of(self, article: int, column: str | None, category: int | None) -> bool:
        return self.kind(article)[COLUMNS.index(str(column))] == category

    def caps_on(self, article: int) -> list[CapPerCategory]:
        """The caps that count an article, each for its own category."""
        found = []
        for cap in self.rules.caps:
            own = self.kind(article)[COLUMNS.index(cap.column)]
            if cap.category in (None, own):
                found.append(CapPerCategory(cap.column, cap.most, own))
        return found

    def count(self, articles: Any, of: Any) -> int:
        return sum(self.is_of(a, of.column, of.category) for a in articles)

    def waiting(self, position: int, column: str | None, category: int | None) -> int:
        """Positions further down that are kept for a category."""
        return sum(p.position > position and (p.column, p.category) == (column, category) for p in self.rules.pins)

    def allowed(self, above: list[int]) -> list[int]:
        """Articles that may stand below ``above`` (-1: empty), where no article is pinned."""
        k, shown = len(above), [a for a in above if a >= 0]
        later = [a for position, a in self.pinned.items() if position > k]
        own = next((p for p in self.rules.pins if p.position == k and p.category is not None), None)
        left = [a for a, w in self.weight.items() if w > 0 and a not in shown and a not in self.pinned.values()]

        def may(article: int) -> bool:
            for cap in self.caps_on(article):
                if self.count(shown + later, cap) + self.waiting(k, cap.column, cap.category) >= cap.most:
                    return False
            if own is not None and not self.is_of(article, own.column, own.category):
                return False
            # The last articles of a pinned category are kept for its positions.
            for pin in self.rules.pins:
                same = own is not None and (own.column, own.category) == (pin.column, pin.category)
                to_come = pin.category is not None and pin.position > k and not same
                scarce = to_come and self.count(left, pin) <= self.waiting(k, pin.column, pin.category)
                if scarce and self.count([article], pin):
                    return False
            return True

        found = [a for a in left if may(a)]
        return found if own is not None else self.shared(found, above, later)

    def shared(self, found: list[int], above: list[int], later: list[int]) -> list[int]:
        """Those of ``found`` that minimum shares let pass at a position that is not pinned."""
        of_pin = {p.position: (p.column, p.category) for p in self.rules.pins if p.category is not None}
        wanted = {}
        for share in self.rules.shares:
            kind = (share.column, share.category)
            counted = [a for k, a in enumerate(above) if a >= 0 and of_pin.get(k) != kind] + later
            promised = sum(each == kind for each in of_pin.values())
            wanted[kind] = max(share.places(self.size) - promised - self.count(counted, share), 0)
        free = [k for k in range(len(above), self.size) if k not in self.pinned and k not in of_pin]
        if 0 < sum(wanted.values()) >= len(free):
            return [a for a in found if any(n and self.is_of(a, *kind) for kind, n in wanted.items())]
        return found

    def slates(self, above: list[int], chance: float) -> Iterator[tuple[tuple[int, ...], float]]:
        """Every slate that begins so, and its chance."""
        if len(above) == self.size:
            yield tuple(above), chance
            return
        pinned = self.pinned.get(len(above))
        allowed = self.allowed(above) if pinned is None else [pinned]
        mass = sum(self.weight[a] for a in allowed)
        for a in allowed or [-1]:
            yield from self.slates([*above, a], chance * (self.weight[a] / mass if pinned is None and allowed else 1.0))

    def check(self, slate: list[int], propensity: Sequence[float], greedy: bool, logits: dict[int, float]) -> None:
        """A slate's positions are served at their chances, or are the best allowed."""
        for k, article in enumerate(slate):
            if k in self.pinned:
                assert (article, propensity[k]) == (self.pinned[k], 1.0)
                continue
            allowed = self.allowed(slate[:k])
            if greedy:
                listed = sorted((-logits[a], a) for a in allowed if a in logits)
                assert (article, propensity[k]) == (listed[0][1] if listed else -1, 1.0)
            elif article < 0:
                assert (allowed, propensity[k]) == ([], 1.0)
            else:
                assert article in allowed
                chance = self.weight[article] / sum(self.weight[a] for a in allowed)
                assert propensity[k] == pytest.approx(chance, rel=1e-6)


def plain_eligible(rules: Rules, kind: Kind, age: dict[int, float]) -> set[int]:
    """Of articles of these ages in hours: those that no rule excludes."""
    left = set(age)
    for rule in rules.exclude:
        if rule.article_id is not None:
            left.discard(rule.article_id)
        elif rule.category is not None:
            left = {a for a in left if kind(a)[COLUMNS.index(str(rule.column))] != rule.category}
        else:
            left = {a for a in left if age[a] <= float(str(rule.above))}
    return left


def check_rules(rules: Rules, kind: Kind, slate: list[int], live: set[int]) -> None:
    """What an editor would look at, whatever was drawn how."""
    shown = [a for a in slate if a >= 0]
    assert len(set(shown)) == len(shown)
    assert set(shown) <= live
    of = lambda rule, a: kind(a)[COLUMNS.index(rule.column)]
    for cap in rules.caps:
        kinds = [of(cap, a) for a in shown]
        assert all(kinds.count(c) <= cap.most for c in set(kinds) if cap.category in (None, c))
    for pin in rules.pins:
        if pin.category is not None and slate[pin.position] >= 0:
            assert of(pin, slate[pin.position]) == pin.category
        if pin.article_id in live and not rules.caps:
            assert slate[pin.position] == pin.article_id
    for share in rules.shares:
        assert sum(of(share, a) == share.category for a in shown) + slate.count(-1) >= share.places(SIZE)


def kept_logits(listed: np.ndarray, logits: np.ndarray) -> dict[int, float]:
    return {int(a): float(z) for a, z in zip(listed, logits, strict=True) if a >= 0}


def some_rules(rng: np.random.Generator, ids: np.ndarray) -> tuple[Rule, ...]:
    """Up to five rules that a slate can hold, about these articles among others, and mostly about one topic."""
    while True:
        made = makers(rng, ids, int(rng.integers(TOPICS)))
        rules = tuple(made[i]() for i in rng.choice(len(made), rng.integers(2, 6), replace=False))
        try:
            rules_of(rules).check(SIZE)
        except ValueError:
            continue
        return rules


def makers(rng: np.random.Generator, ids: np.ndarray, favourite: int) -> list[Callable[[], Rule]]:
    place, some = lambda: int(rng.integers(SIZE)), lambda: int(rng.choice(ids))
    topic = lambda: favourite if rng.random() < 0.7 else int(rng.integers(TOPICS))
    return [
        lambda: Exclude(article_id=some()),
        lambda: Exclude(column="topic", category=int(rng.integers(TOPICS))),
        lambda: Exclude(column="age_hours", above=float(rng.integers(1, 8))),
        lambda: CapPerCategory(str(rng.choice(COLUMNS)), int(rng.integers(1, 3))),
        lambda: CapPerCategory("topic", int(rng.integers(1, 3)), topic()),
        lambda: CapPerCategory("topic", int(rng.integers(1, 3))),
        lambda: Pin(position=place(), article_id=some()),
        lambda: Pin(position=place(), article_id=some()),
        lambda: Pin(position=place(), column="topic", category=topic()),
        lambda: Pin(position=place(), column="topic", category=topic()),
        lambda: Pin(position=place(), column="publisher", category=int(rng.integers(PUBLISHERS))),
        lambda: MinimumShare("topic", topic(), float(rng.choice([0.25, 0.5]))),
        lambda: MinimumShare("publisher", int(rng.integers(PUBLISHERS)), 0.3),
    ]


# ---- an index and the slate policy under any sequence ----
def topic_publisher_author(article: int) -> tuple[int, int, int]:
    return article * 7 % 11 % TOPICS, article * 5 % 7 % PUBLISHERS, article % 2


class Newsstand:
    """What the policy asks of a catalogue; article i is published at hour i / 2."""

    feature_names: tuple[str, ...] = ()
    category_sizes = (TOPICS, PUBLISHERS, 2)

    def __init__(self, ids: Sequence[int], now: float) -> None:
        self.article_id, self.now = np.array(ids, dtype=np.int64), now

    def __len__(self) -> int:
        return len(self.article_id)

    def categories_of(self, ids: Any) -> np.ndarray:
        kinds = [topic_publisher_author(a) for a in np.asarray(ids).tolist()]
        return np.array(kinds, dtype=np.int32).reshape(-1, 3)

    def published_hours_of(self, ids: Any) -> np.ndarray:
        return np.asarray(ids) / 2.0

    @property
    def age_hours(self) -> np.ndarray:
        return self.now - self.published_hours_of(self.article_id)


class Site:
    """An index, the vectors that it should hold, and the policy that serves from it."""

    def __init__(self, kind: str, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.index = kind, make_index(kind, DIM)
        self.vectors: dict[int, np.ndarray] = {}
        self.next, self.policy = 0, PolicyConfig(epsilon=0.1)
        self.shown = self.ruled = 0

    def publish(self) -> None:
        ids = np.arange(self.next, self.next + self.rng.integers(1, 12))
        self.next += len(ids) + int(self.rng.integers(2))  # some number is never used
        vectors = self.rng.standard_normal((len(ids), DIM), dtype=np.float32)
        self.index.add(ids, vectors, ids / 2.0)
        self.vectors |= dict(zip(ids.tolist(), vectors, strict=True))

    def expire(self) -> None:
        # The oldest mostly, and now and then all.
        ids = np.array(sorted(self.vectors), dtype=np.int64)[: self.rng.integers(0, 9) * self.rng.integers(1, 4)]
        ids = self.rng.permutation(ids)
        self.index.remove(ids)
        for a in ids.tolist():
            del self.vectors[a]

    def refresh(self) -> None:
        ids = self.rng.permutation(np.array(list(self.vectors), dtype=np.int64))
        ids = ids[: self.rng.integers(0, len(ids) + 1)]
        vectors = self.rng.standard_normal((len(ids), DIM), dtype=np.float32)
        self.index.update(ids, vectors)
        self.vectors |= dict(zip(ids.tolist(), vectors, strict=True))

    def rebuild(self) -> None:
        state = self.index.snapshot()
        self.index = make_index(self.kind, DIM)
        self.index.restore(state)

    def change_rules(self) -> None:
        self.policy = PolicyConfig(
            shortlist_size=int(self.rng.integers(SIZE, 9)),
            epsilon=float(self.rng.choice([0.0, 0.3, 1.0])),
            greedy=bool(self.rng.random() < 0.2),
            new_boost=float(self.rng.choice([0.0, 1.0])),
            rules=some_rules(self.rng, np.arange(max(self.next - 15, 0), self.next + 3)),
        )

    def serve(self) -> None:
        """As an agent does it: exclude, search for as many more, leave out, boost, draw."""
        policy, ids = self.policy, list(self.vectors)
        stand: Any = Newsstand(ids, now=self.next / 2.0)
        kept = eligible(policy, stand)
        live = stand.article_id if kept is None else stand.article_id[kept]
        age = {a: stand.now - a / 2.0 for a in ids}
        assert set(live.tolist()) == plain_eligible(policy.editorial, topic_publisher_author, age)
        queries = self.rng.standard_normal((5, DIM), dtype=np.float32)
        listed, logits = np.full((5, 1), -1), np.zeros((5, 1))
        if len(live):
            wanted = min(policy.shortlist_size + len(ids) - len(live), len(ids))
            listed, scores = self.index.search(queries, wanted)
            self.check_search(queries, listed, scores)
            logits = scores.astype(np.float64)
            if kept is not None:
                listed, logits = only_eligible(listed, logits, live, policy.shortlist_size)
            logits = logits + boosts(policy, stand, listed)
        served = serve(self.rng, policy, policy.draw(logits, listed, len(live), SIZE), live, 0, stand)
        check_slates(served, policy.editorial, topic_publisher_author, live.tolist(), listed, logits)
        self.shown += int((served.article_id >= 0).sum())
        self.ruled += len(live) < len(ids) or policy.editorial.reshapes

    def check_search(self, queries: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> None:
        """Only what is live, at the scores of the vectors of now."""
        for query, line, row in zip(queries, ids.tolist(), scores, strict=True):
            found = [a for a in line if a >= 0]
            assert set(found) <= set(self.vectors)
            expected = [query.astype(np.float64) @ self.vectors[a] for a in found]
            np.testing.assert_allclose(row[: len(found)], expected, rtol=1e-4, atol=1e-5)


def check_slates(
    served: Served, rules: Rules, kind: Kind, live: list[int], listed: np.ndarray, logits: np.ndarray
) -> None:
    """Slates as they were drawn from these shortlists (n, M): rules and chances."""
    slates = served.as_drawn
    np.testing.assert_allclose(np.log(slates.slot_propensity).sum(axis=1), slates.log_propensity, atol=1e-9)
    epsilon, greedy = (np.broadcast_to(v, len(listed)) for v in (served.epsilon, served.greedy))
    for row, slate in enumerate(slates.article_id.tolist()):
        check_rules(rules, kind, slate, set(live))
        own = kept_logits(listed[row], logits[row])
        plain = Plain(rules, kind, live, own, 0.0 if greedy[row] else float(epsilon[row]))
        plain.check(slate, slates.slot_propensity[row].tolist(), bool(greedy[row]), own)


STEPS = ("publish", "publish", "expire", "refresh", "rebuild", "change_rules", "serve", "serve")


@pytest.mark.parametrize("kind", KINDS)
def test_any_sequence_serves_what_is_live_and_allowed_at_its_chance(kind: str) -> None:
    shown = ruled = 0

    @given(st.integers(0, 2**32), st.lists(st.sampled_from(STEPS), min_size=4, max_size=25))
    @settings(max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
    def sequence(seed: int, steps: list[str]) -> None:
        nonlocal shown, ruled
        site = Site(kind, seed)
        for step in ["publish", "change_rules", *steps, "serve"]:
            getattr(site, step)()
        shown, ruled = shown + site.shown, ruled + site.ruled

    sequence()
    assert shown > 500
    assert ruled > 30


# ---- agents through a run whose rules change ----
SITE = FeedConfig(
    num_readers=60,
    days=1.0,
    tick_hours=0.5,
    slate_size=SIZE,
    newsroom=NewsroomConfig(
        articles_per_day=120.0, max_age_hours=6.0, num_topics=TOPICS, num_publishers=PUBLISHERS, num_authors=2
    ),
)
RULES_HOURS = 2.0
LAGS: dict[str, dict[str, float]] = {
    "realtime": {},
    "streaming": {"item_refresh_hours": 1.0, "reader_refresh_hours": 1.0},
    "batch": {"item_refresh_hours": RULES_HOURS, "reader_refresh_hours": RULES_HOURS},
}
RUNS = [(kind, mode) for mode in LAGS for kind in KINDS]


@pytest.mark.parametrize(("kind", "mode"), RUNS)
def test_agents_keep_rules_that_change_and_say_at_which_chance(kind: str, mode: str) -> None:
    """Every two hours other rules, exploration and boost: an agent that goes on from the snapshot of the last."""
    rng, feed = np.random.default_rng(RUNS.index((kind, mode))), Feed(SITE, seed=8)
    agent: Any = None
    slates: list[Ints] = []
    kinds: dict[int, list[int]] = {}
    while not feed.done:
        catalogue = feed.catalogue
        if feed.now % RULES_HOURS == 0:
            # About articles that are gone, that are live, and that are still to come.
            rules = some_rules(rng, np.maximum(catalogue.archive.published - np.arange(-10, 30), 0))
            agent = going_on(agent, feed, kind, mode, rules, rng)
        served = agent.act(feed.visits, catalogue)
        acted, live = acted_of(agent), catalogue.article_id.tolist()
        published, expires = (catalogue.archive.column(f"{name}_hours") for name in ("published", "expires"))
        age = {a: feed.now - float(published[a]) for a in live}
        kinds |= dict(zip(live, catalogue.categories_of(np.array(live)).tolist(), strict=True))
        if mode != "batch" or feed.now % RULES_HOURS == 0:
            # When it was drawn: of what is live to the clock, by the rules of then.
            assert all(age[a] >= 0 and expires[a] > feed.now for a in live)
            allowed = plain_eligible(rules_of(rules), kinds.__getitem__, age)
        assert set(acted.live.tolist()) == allowed
        listed, logits = served.draw.shortlist, served.draw.logits
        check_slates(served, rules_of(rules), kinds.__getitem__, acted.live.tolist(), listed, logits)
        assert set(served.article_id.ravel().tolist()) <= {-1, *live}
        if served.ahead is not None:
            # What is excluded only now that it has aged is not shown either.
            drawn, stays = served.ahead.drawn.article_id, plain_eligible(rules_of(rules), kinds.__getitem__, age)
            np.testing.assert_array_equal(served.article_id, np.where(np.isin(drawn, list(stays)), drawn, -1))
        slates.append(served.article_id)
        agent.learn(feed.serve(served.article_id))
    every = np.concatenate(slates)
    assert feed.invalid_entries == np.count_nonzero(every < 0) < 0.7 * every.size
    assert agent.policy_version >= 4
    assert len(every) > 80


def going_on(agent: Any, feed: Feed, kind: str, mode: str, rules: tuple[Rule, ...], rng: np.random.Generator) -> Any:
    """The agent with other settings of its policy."""
    changed = make_agent(
        "regression",
        index=kind,
        serving=mode,
        train_every_hours=RULES_HOURS,
        max_steps=2,
        rules=rules,
        epsilon=float(rng.choice([0.0, 0.3])),
        new_boost=float(rng.choice([0.0, 1.0])),
        greedy=bool(rng.random() < 0.2),
        shortlist_size=12,
        **LAGS[mode],
    ).start(feed)
    if agent is not None:
        changed.restore(agent.snapshot())
    return changed


# ---- the joint chance of an agent's slates ----
SMALL = FeedConfig(
    num_readers=60,
    days=2.0,
    tick_hours=0.5,
    slate_size=3,
    newsroom=NewsroomConfig(articles_per_day=40.0, max_age_hours=6.0, num_topics=3, num_publishers=3),
)
JOINT = (
    "cap(topic,1)+pin(topic=1,2)",
    "exclude(age_hours>5)+cap(publisher,2)+share(topic=0,0.6)",
    "exclude(topic=2)+pin(publisher=1,0)+share(topic=1,0.3)",
)


@pytest.mark.parametrize("epsilon", [0.0, 0.25])
@pytest.mark.parametrize("rules", JOINT)
def test_an_agents_slates_follow_the_joint_chance_that_its_scores_state(rules: str, epsilon: float) -> None:
    """Logits anew from what its towers say: z-scores over the live catalogue, temperature, boost, shortlist, rules."""
    feed, config = Feed(SMALL, seed=JOINT.index(rules)), {"rules": rules, "epsilon": epsilon, "shortlist_size": 6}
    config |= {"new_boost": 0.7, "new_hours": 2.0, "temperature": 1.6, "sharpness": 2.0}
    agent: Any = make_agent("regression", train_every_hours=4.0, max_steps=20, **config).start(feed)
    while feed.now < 15.0 or len(feed.visits) == 0:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    visits, catalogue = visits_at(feed.visits, np.zeros(8000, dtype=np.int64)), feed.catalogue
    served = agent.act(visits, catalogue)
    score = agent.score_all(visits_at(visits, np.zeros(1, dtype=np.int64)), catalogue)[0]

    ids, age = catalogue.article_id.tolist(), catalogue.age_hours.tolist()
    kinds = dict(zip(ids, catalogue.categories_of(catalogue.article_id).tolist(), strict=True))
    live = plain_eligible(rules_of(rules), kinds.__getitem__, dict(zip(ids, age, strict=True)))
    assert 6 < len(live) < 20

    def joint(temperature: float, boost: float) -> dict[tuple[int, ...], float]:
        logit = 2.0 / temperature * (score - score.mean()) / score.std()
        best = sorted(live, key=lambda a: -logit[ids.index(a)])[:6]
        logits = {a: float(logit[ids.index(a)]) + boost * (age[ids.index(a)] < 2.0) for a in best}
        plain = Plain(rules_of(rules), kinds.__getitem__, sorted(live), logits, epsilon, size=3)
        return dict(plain.slates([], 1.0))

    stated = joint(1.6, 0.7)
    chance = [stated[tuple(slate)] for slate in served.article_id.tolist()]
    np.testing.assert_allclose(np.exp(served.log_propensity), chance, rtol=1e-3)  # towers are float32
    assert p_value(served.article_id, stated) > 1e-4
    assert p_value(served.article_id, joint(1.0, 0.7)) < 1e-6
    assert p_value(served.article_id, joint(1.6, 0.0)) < 1e-6


def p_value(slates: np.ndarray, stated: dict[tuple[int, ...], float]) -> float:
    """Chi-square of whole slates; cells that are expected fewer than five times are one."""
    seen = Counter(map(tuple, slates.tolist()))
    expected = {slate: chance * len(slates) for slate, chance in stated.items()}
    large = [slate for slate in expected if expected[slate] >= 5]
    counts, means = [seen[s] for s in large], [expected[s] for s in large]
    rest = len(slates) - sum(means)
    if rest > 1e-6 * len(slates):
        counts, means = [*counts, len(slates) - sum(counts)], [*means, rest]
    assert len(means) > 5
    return float(stats.chisquare(counts, means).pvalue)
