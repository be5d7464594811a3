"""For any rules: none is broken, propensities equal plain enumeration, and what cannot be is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgym.agents.editorial.rules import COLUMNS, CapPerCategory, Exclude, MinimumShare, Pin
from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.slate_policy.policy import PolicyConfig
from helpers.plain.slates import CASES, LOGITS, PUBLISHER, SHORTLIST, TOPIC, Shelf, draw, plain_slates

RULE = st.one_of(
    st.builds(lambda a: Exclude(article_id=a), st.integers(0, 20)),
    st.builds(lambda c: Exclude(column="topic", category=c), st.integers(0, 3)),
    st.builds(CapPerCategory, st.sampled_from(["topic", "publisher"]), st.integers(0, 3)),
    st.builds(lambda m, c: CapPerCategory("topic", m, c), st.integers(0, 3), st.integers(0, 3)),
    st.builds(lambda p, a: Pin(position=p, article_id=a), st.integers(0, 3), st.integers(0, 20)),
    st.builds(lambda p, c: Pin(position=p, column="topic", category=c), st.integers(0, 3), st.integers(0, 3)),
    st.builds(lambda c, s: MinimumShare("topic", c, s), st.integers(0, 3), st.sampled_from([0.2, 0.5, 0.75])),
)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    rules=st.lists(RULE, max_size=5),
    live=st.sets(st.integers(0, 20), max_size=15),
    seed=st.integers(0, 2**31),
    epsilon=st.sampled_from([0.0, 0.2, 1.0]),
    greedy=st.booleans(),
)
def test_rules_are_never_broken(rules: list[Any], live: set[int], seed: int, epsilon: float, greedy: bool) -> None:
    rng, size, n = np.random.default_rng(seed), 4, 6
    try:
        of_all = rules_of(rules)
        of_all.check(size)
    except ValueError:
        return
    shelf = Shelf(rng.integers(0, 4, 21), rng.integers(0, 3, 21), live=sorted(live))
    shortlist = rng.permutation(sorted(live))[:6].astype(np.int64) if live else np.array([-1])
    served = draw(
        shelf, tuple(rules), shortlist, rng.normal(size=len(shortlist)), size, n, seed, epsilon=epsilon, greedy=greedy
    )
    catalogue: Any = shelf
    out = set(shelf.article_id[of_all.excluded(catalogue)].tolist())
    ids = served.article_id
    assert served.num_unfilled == n * min(size, len(live)) - (ids >= 0).sum()
    for slate in ids.tolist():
        shown = [a for a in slate if a >= 0]
        assert len(set(shown)) == len(shown)
        assert set(shown) <= live - out
        for cap in of_all.caps:
            kinds = [shelf.columns[a, COLUMNS.index(cap.column)] for a in shown]
            for c in range(4):
                assert cap.category not in (None, c) or kinds.count(c) <= cap.most
        standing = [p for p in of_all.pins if p.article_id in live - out]
        for pin in of_all.pins:
            if pin.category is not None and slate[pin.position] >= 0:
                assert shelf.columns[slate[pin.position], 0] == pin.category
            if pin in standing and not of_all.caps:
                assert slate[pin.position] == pin.article_id
        for share in of_all.shares:
            of_kind = sum(shelf.columns[a, 0] == share.category for a in shown)
            # What is asked for, or an empty position for each that cannot be had. A cap may also undo an article pin.
            assert of_kind + slate.count(-1) >= share.places(size)


SMALL = st.one_of(
    st.builds(lambda a: Exclude(article_id=a), st.integers(0, 6)),
    st.builds(CapPerCategory, st.sampled_from(["topic", "publisher"]), st.integers(1, 2)),
    st.builds(lambda c: CapPerCategory("topic", 1, c), st.integers(0, 2)),
    st.builds(lambda p, a: Pin(position=p, article_id=a), st.integers(0, 2), st.integers(0, 6)),
    st.builds(lambda p, c: Pin(position=p, column="topic", category=c), st.integers(0, 2), st.integers(0, 2)),
    st.builds(lambda c, s: MinimumShare("topic", c, s), st.integers(0, 2), st.sampled_from([0.3, 0.6])),
)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(rules=st.lists(SMALL, min_size=1, max_size=4), seed=st.integers(0, 999), epsilon=st.sampled_from([0.0, 0.4]))
def test_propensities_equal_plain_enumeration_for_any_rules(rules: list[Any], seed: int, epsilon: float) -> None:
    rng, size = np.random.default_rng(seed), 3
    try:
        of_all = rules_of(rules)
        of_all.check(size)
    except ValueError:
        return
    shelf = Shelf(rng.integers(0, 3, 7), rng.integers(0, 2, 7))
    shortlist, logits = rng.permutation(7)[:4], rng.normal(size=4)
    catalogue: Any = shelf
    if of_all.excluded(catalogue)[shortlist].all():
        return
    exact = plain_slates(shelf, of_all, shortlist.tolist(), logits.tolist(), size, epsilon)
    served = draw(shelf, tuple(rules), shortlist, logits, size, 30, seed, epsilon=epsilon)
    chance = [exact[tuple(slate)] for slate in served.article_id.tolist()]
    np.testing.assert_allclose(np.exp(served.log_propensity), chance, rtol=1e-9)


@pytest.mark.parametrize("text", CASES.values())
def test_rules_are_written_as_they_are_read(text: str) -> None:
    rules = rules_of(text)
    every: tuple[Any, ...] = (*rules.exclude, *rules.caps, *rules.pins, *rules.shares)
    assert rules_of("+".join(map(str, every))) == rules_of(str(every) if every else "") == rules_of(every) == rules


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("drop(topic=3)", r"rules: got 'drop\(topic=3\)', needs rules joined by '\+': exclude\(812\)"),
        ("cap(topic)", r"rules: got 'cap\(topic\)', needs rules joined"),
        ("exclude(topic=3,1)", "needs rules joined"),
        ("pin(topic>3,1)", "needs rules joined"),
        ("cap(section,2)", "cap: got 'section', needs one of topic, publisher, author"),
        ("cap(topic,1.5)", "cap: got 1.5, needs a whole number"),
        ("cap(topic,-1)", "cap: got -1, needs a whole number >= 0"),
        ("share(topic=1,1.5)", "share: got 1.5, needs a share in"),
        ("pin(1,0)+pin(2,0)", r"pin: got \[0, 0\], needs one pin a position"),
        ("pin(1,0)+pin(1,1)", r"pin: got \[1, 1\], needs one position an article"),
        ("pin(1,0)+exclude(1)", "pin: got .*, needs articles that exclude does not name"),
        ("share(topic=1,0.2)+exclude(topic=1)", "needs a category that exclude does not name"),
    ],
)
def test_refusals(rules: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PolicyConfig(rules=rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("pin(1,4)", r"pin: got pin\(1,4\), needs a position below the slate's 4"),
        ("share(topic=1,0.5)+share(topic=2,0.75)", "share: got .* needs at most the 4 positions without a pin"),
        ("share(topic=1,0.5)+cap(topic,1)", "share: got .* needs at most the 1 that cap allows"),
        ("pin(topic=1,0)+pin(topic=1,1)+cap(topic,1)", "pin: got .* needs at most the 1 that cap allows"),
    ],
)
def test_refusals_of_what_a_slate_cannot_hold(rules: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(Shelf(TOPIC, PUBLISHER), rules, SHORTLIST, LOGITS, 4, 1)
