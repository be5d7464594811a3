"""Random sequences of publishing, expiry, refreshes, searches and changes of rules: nothing is served that may not be.

For every kind of index and every serving mode; what was drawn is held against a plain recount of its chances.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgym.agents.retrieval.registry import INDEXES, make_index
from feedgym.agents.slate_policy.policy import PolicyConfig, boosts, eligible, only_eligible, serve
from helpers.plain.rules import (
    DIM,
    KINDS,
    PUBLISHERS,
    SIZE,
    TOPICS,
    check_slates,
    plain_eligible,
    some_rules,
    topic_publisher_author,
)


def test_every_kind_of_index_is_here() -> None:
    assert {kind.partition(":")[0] for kind in KINDS} == set(INDEXES)


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
