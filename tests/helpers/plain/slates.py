"""Slates under rules by enumeration: every slate that may be served, with its chance."""

import math
from typing import Any

import numpy as np

from feedgym.agents.editorial.rules import COLUMNS, CapPerCategory, Rules
from feedgym.agents.slate_policy.policy import PolicyConfig, eligible, only_eligible, serve
from feedgym.agents.slate_policy.served import Served

UNSEEN = 2
"""The article that nobody has been shown."""


class Shelf:
    """What rules look at of a catalogue, for articles 0..A-1 with these topics and publishers."""

    feature_names = ("text_0", "clickbait_proxy")
    category_sizes = (4, 3, 1)

    def __init__(self, topic: Any, publisher: Any, live: Any = None, clickbait: Any = None) -> None:
        self.columns = np.stack([topic, publisher, np.zeros(len(topic))], axis=1).astype(np.int32)
        self.article_id = np.arange(len(topic)) if live is None else np.asarray(live, dtype=np.int64)
        self.clickbait = np.zeros(len(topic)) if clickbait is None else np.asarray(clickbait)
        self.now = 10.0

    def __len__(self) -> int:
        return len(self.article_id)

    def categories_of(self, ids: Any) -> Any:
        return self.columns[ids]

    def published_hours_of(self, ids: Any) -> Any:
        return np.asarray(ids, dtype=np.float64)

    def impressions_of(self, ids: Any) -> Any:
        return np.where(np.asarray(ids) == UNSEEN, 0, 99)

    @property
    def age_hours(self) -> Any:
        return self.now - self.published_hours_of(self.article_id)

    @property
    def features(self) -> Any:
        rows = np.stack([np.zeros(len(self.clickbait)), self.clickbait], axis=1)
        return rows[self.article_id].astype(np.float32)


def draw(
    shelf: Shelf, rules: Any, shortlist: Any, logits: Any, size: int, n: int, seed: int = 1, **more: Any
) -> Served:
    """The shipped way: exclusions first, then ``serve``."""
    config = PolicyConfig(rules=rules, **more)
    catalogue: Any = shelf
    kept = eligible(config, catalogue)
    live = shelf.article_id if kept is None else shelf.article_id[kept]
    listed, z = np.tile(np.asarray(shortlist), (n, 1)), np.tile(np.asarray(logits, dtype=float), (n, 1))
    if kept is not None:
        listed, z = only_eligible(listed, z, live, listed.shape[1])
    return serve(np.random.default_rng(seed), config, config.draw(z, listed, len(live), size), live, 0, catalogue)


def plain_pins(shelf: Shelf, rules: Rules, weight: dict[int, float]) -> dict[int, int]:
    """Pinned articles that may stand, by position: from the top, as far as caps let them."""
    pinned: dict[int, int] = {}
    for pin in sorted(rules.pins, key=lambda pin: pin.position):
        if pin.article_id is None or pin.article_id not in weight:
            continue
        for cap in rules.caps:
            of = [int(shelf.columns[a, COLUMNS.index(cap.column)]) for a in (*pinned.values(), pin.article_id)]
            if cap.category in (None, of[-1]) and of.count(of[-1]) > cap.most:
                break
        else:
            pinned[pin.position] = pin.article_id
    return pinned


def plain_allowed(shelf: Shelf, rules: Rules, prefix: list[int], weight: dict[int, float], size: int) -> list[int]:
    """The slow version: which articles may stand at position ``len(prefix)``, by counting."""
    k, kinds = len(prefix), shelf.columns
    of = lambda a, column: int(kinds[a, COLUMNS.index(str(column))])
    pinned = plain_pins(shelf, rules, weight)
    if k in pinned:
        return [pinned[k]]
    fixed = [a for at, a in pinned.items() if at > k]
    shown = [a for a in prefix if a >= 0]
    left = [a for a in weight if a not in shown and a not in pinned.values() and weight[a] > 0]
    kept_for = {p.position: (p.column, p.category) for p in rules.pins if p.category is not None}
    allowed = left
    for cap in rules.caps:

        def under(a: int, cap: CapPerCategory = cap) -> bool:
            c = of(a, cap.column)
            if cap.category not in (None, c):
                return True
            used = sum(of(b, cap.column) == c for b in shown + fixed)
            promised = sum(at > k and kind == (cap.column, c) for at, kind in kept_for.items())
            return used + promised < cap.most

        allowed = [a for a in allowed if under(a)]
    if k in kept_for:
        column, category = kept_for[k]
        allowed = [a for a in allowed if of(a, column) == category]
    else:
        need = {}
        for share in rules.shares:
            kind = (share.column, share.category)
            counted = [prefix[at] for at in range(k) if prefix[at] >= 0 and kept_for.get(at) != kind] + fixed
            promised = sum(other == kind for other in kept_for.values())
            need[kind] = math.ceil(share.share * size - 1e-9) - promised
            need[kind] = max(need[kind] - sum(of(a, share.column) == share.category for a in counted), 0)
        free = sum(at not in pinned and at not in kept_for for at in range(k, size))
        if sum(need.values()) >= max(free, 1):
            allowed = [a for a in allowed if any(n > 0 and of(a, c) == v for (c, v), n in need.items())]
    for kept in set(kept_for.values()):
        waiting = sum(at > k and other == kept for at, other in kept_for.items())
        if waiting and kept_for.get(k) != kept and sum(of(a, kept[0]) == kept[1] for a in left) <= waiting:
            allowed = [a for a in allowed if of(a, kept[0]) != kept[1]]
    return allowed


def plain_slates(
    shelf: Shelf, rules: Rules, shortlist: Any, logits: Any, size: int, epsilon: float
) -> dict[tuple[int, ...], float]:
    """Chance of every slate: of both kinds of visits, by sequential draws over what is allowed; exclusions first."""
    catalogue: Any = shelf
    out = set(shelf.article_id[rules.excluded(catalogue)].tolist())
    live = [a for a in shelf.article_id.tolist() if a not in out]
    listed = {a: math.exp(z) for a, z in zip(shortlist, logits, strict=True) if a in live}
    done: dict[tuple[int, ...], float] = {}

    def go(prefix: list[int], chance: float, told: dict[int, float], rest: list[int]) -> None:
        if len(prefix) == size:
            done[tuple(prefix)] = done.get(tuple(prefix), 0.0) + chance
            return
        weight = {a: told.get(a, 1.0 if a in rest else 0.0) for a in live}
        pinned = plain_pins(shelf, rules, weight)
        allowed = plain_allowed(shelf, rules, prefix, weight, size)
        if not allowed:
            go([*prefix, -1], chance, told, rest)
        if len(prefix) in pinned:
            of = dict.fromkeys(allowed, 1.0)
        else:
            # The rest only where nothing of the shortlist may come.
            of = {a: told[a] for a in allowed if a in told} or dict.fromkeys(allowed, 1.0)
        for a in of:
            go([*prefix, a], chance * of[a] / sum(of.values()), told, rest)

    if epsilon < 1:
        go([], 1.0 - epsilon, listed, [a for a in live if a not in listed] if epsilon and rules.reshapes else [])
    if epsilon > 0:
        go([], epsilon, {}, live)
    return done


TOPIC = [0, 0, 0, 1, 1, 2, 2, 2]

PUBLISHER = [0, 1, 2, 0, 1, 2, 0, 1]

SHORTLIST, LOGITS = [0, 1, 3, 5], [1.0, 0.8, -0.3, 0.5]


CASES = {
    "nothing": "",
    "exclude": "exclude(topic=1)+exclude(0)",
    "cap": "cap(topic,1)",
    "cap of one": "cap(topic=0,1)",
    "two caps": "cap(topic,2)+cap(publisher,1)",
    "pin": "pin(7,1)+cap(topic=2,2)",
    "pin of the shortlist": "pin(1,2)",
    "pinned kind": "pin(topic=1,2)+cap(topic,1)",
    "scarce pins": "pin(topic=1,1)+pin(topic=1,2)",
    "share": "share(topic=2,0.5)",
    "all": "exclude(4)+cap(publisher,2)+pin(6,0)+share(topic=2,0.6)",
    "a share of pinned kind": "pin(topic=2,1)+share(topic=2,0.6)",
    "pins over a cap": "pin(1,2)+pin(0,0)+cap(topic,1)",
    "nothing left": "exclude(topic=2)+exclude(topic=1)+cap(topic,2)",
}


def check_propensities(served: Served, exact: dict[tuple[int, ...], float]) -> None:
    """What is logged is the chance of the slate, and of its positions the factors."""
    chance = [exact[tuple(slate)] for slate in served.article_id.tolist()]
    np.testing.assert_allclose(np.exp(served.log_propensity), chance, rtol=1e-9)
    np.testing.assert_allclose(np.log(served.slot_propensity).sum(axis=1), served.log_propensity, atol=1e-9)
