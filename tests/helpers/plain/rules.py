"""What rules allow, by the words of the page, and random rules to try."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from feedgym.agents.editorial.rules import COLUMNS, CapPerCategory, Exclude, MinimumShare, Pin, Rule, Rules
from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.slate_policy.served import Served

SIZE, DIM, TOPICS, PUBLISHERS = 4, 4, 4, 3


KINDS = (
    "exact",
    "ivf:nlist=5+nprobe=2",
    "ivf-sq8:nprobe=4",
    "hnsw:m=4+ef=20",
    "auto:ivf_above=12+sq8_above=24",
)
"""Each kind, at sizes at which few articles have cells, tombstones and switches."""


Kind = Callable[[int], Sequence[int]]
"""Topic, publisher and author of an article."""
Part = tuple[float, dict[int, float], list[int]]
"""One kind of visits: its share, weights of the articles that are told apart, and who comes where none of them may."""


# ---- the plain version ----
class Plain:
    """What rules allow, one position after the other, for one reader; by the words of docs/guide/editorial.md.

    Args:
        rules: of which ``exclude`` has been taken out of ``live`` already.
        kind: of each article.
        live: ids.
        logits: of the shortlist, by id.
        epsilon: chance that a visit explores.
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
        self.live = list(live)
        # Both kinds of visits: their share, what is drawn in proportion to which weights, and what where none may come.
        rest = [a for a in live if a not in logits] if epsilon > 0 and rules.reshapes else []
        self.parts: list[Part] = []
        if epsilon < 1:
            self.parts.append((1 - epsilon, {a: math.exp(z - top) for a, z in logits.items()}, rest))
        if epsilon > 0:
            self.parts.append((epsilon, {}, self.live))
        self.pinned: dict[int, int] = {}
        for pin in sorted(rules.pins, key=lambda pin: pin.position):
            if pin.article_id in self.live:
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

    def allowed(self, above: list[int], among: Sequence[int]) -> list[int]:
        """Articles of these that may stand below ``above`` (-1: empty), where no article is pinned."""
        k, shown = len(above), [a for a in above if a >= 0]
        later = [a for position, a in self.pinned.items() if position > k]
        own = next((p for p in self.rules.pins if p.position == k and p.category is not None), None)
        left = [a for a in among if a not in shown and a not in self.pinned.values()]

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

    def chances(self, above: list[int], part: "Part") -> dict[int, float]:
        """What may stand below ``above`` in one kind of visit, and how likely it is; -1 where nothing may."""
        _, told, rest = part
        if len(above) in self.pinned:
            return {self.pinned[len(above)]: 1.0}
        allowed = self.allowed(above, [*(a for a, w in told.items() if w > 0), *rest])
        of = {a: told[a] for a in allowed if a in told} or dict.fromkeys(allowed, 1.0)
        return {a: w / sum(of.values()) for a, w in of.items()} or {-1: 1.0}

    def slates(self, above: list[int], chance: float) -> Iterator[tuple[tuple[int, ...], float]]:
        """Every slate that begins so, and its chance."""
        found: dict[tuple[int, ...], float] = {}

        def go(above: list[int], chance: float, part: Part) -> None:
            if len(above) == self.size:
                found[tuple(above)] = found.get(tuple(above), 0.0) + chance
                return
            for a, own in self.chances(above, part).items():
                go([*above, a], chance * own, part)

        for part in self.parts:
            go(above, chance * part[0], part)
        yield from found.items()

    def check(self, slate: list[int], propensity: Sequence[float], greedy: bool, logits: dict[int, float]) -> None:
        """A slate's positions are served at their chances, or are the best allowed."""
        prefix = [part[0] for part in self.parts]
        for k, article in enumerate(slate):
            if k in self.pinned:
                assert (article, propensity[k]) == (self.pinned[k], 1.0)
                continue
            if greedy:
                allowed = self.allowed(slate[:k], list(logits))
                listed = sorted((-logits[a], a) for a in allowed)
                assert (article, propensity[k]) == (listed[0][1] if listed else -1, 1.0)
                continue
            before = sum(prefix)
            for i, part in enumerate(self.parts):
                prefix[i] *= self.chances(slate[:k], part).get(article, 0.0) if prefix[i] > 0 else 0.0
            assert sum(prefix) > 0
            assert propensity[k] == pytest.approx(sum(prefix) / before, rel=1e-6)


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
