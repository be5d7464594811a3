"""Lists of several pages under rules: each page keeps them, nothing comes twice, and the chances are exact."""

import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.slate_policy.policy import PolicyConfig, serve
from feedgym.agents.slate_policy.served import Served
from helpers.chances import Joint, p_value
from helpers.plain.slates import LOGITS, PUBLISHER, SHORTLIST, TOPIC, Shelf, check_propensities, plain_allowed

PAGE, EPSILON, LISTS = 2, 0.3, 20_000
CASES = {"cap": "cap(topic,1)", "pin": "pin(7,1)+cap(topic,1)", "kind and share": "pin(topic=2,1)+share(topic=0,0.5)"}


def lists_of(rules: str, pages: int, **more: Any) -> Served:
    shelf: Any = Shelf(TOPIC, PUBLISHER)
    config = PolicyConfig(rules=rules, epsilon=EPSILON, **more)
    listed, z = np.tile(SHORTLIST, (LISTS, 1)), np.tile(LOGITS, (LISTS, 1))
    draw = config.draw(z, listed, len(shelf), pages * PAGE)
    return serve(np.random.default_rng(1), config, draw, shelf.article_id, 0, shelf, pages=pages)


def plain_lists(rules: str, pages: int) -> Joint:
    """Position by position, from what is not on the list yet and may come on its page."""
    shelf, read = Shelf(TOPIC, PUBLISHER), rules_of(rules)
    done: Joint = {}

    def go(prefix: list[int], chance: float, told: dict[int, float]) -> None:
        if len(prefix) == pages * PAGE:
            done[tuple(prefix)] = done.get(tuple(prefix), 0.0) + chance
            return
        top = len(prefix) // PAGE * PAGE
        # Of the rest only where nothing of the shortlist may come.
        weight = {a: told.get(a, 1.0) for a in shelf.article_id.tolist() if a not in prefix[:top]}
        allowed = plain_allowed(shelf, read, prefix[top:], weight, PAGE)
        of = {a: told[a] for a in allowed if a in told} or dict.fromkeys(allowed, 1.0)
        for a in of:
            go([*prefix, a], chance * of[a] / sum(of.values()), told)
        if not of:
            go([*prefix, -1], chance, told)

    go([], 1.0 - EPSILON, {a: math.exp(z) for a, z in zip(SHORTLIST, LOGITS, strict=True)})
    go([], EPSILON, {})
    return done


@pytest.mark.parametrize("case", CASES)
def test_lists_come_at_their_stated_chances(case: str) -> None:
    joint = plain_lists(CASES[case], 2)
    assert math.fsum(joint.values()) == pytest.approx(1.0)
    served = lists_of(CASES[case], 2)
    check_propensities(served, joint)
    assert p_value(served.article_id, joint) > 1e-3
    # Rules begin anew on each page: not so over the whole list.
    whole = serve_as_one(CASES[case])
    assert p_value(whole.article_id, joint) < 1e-6


def serve_as_one(rules: str) -> Served:
    """A slate as long as the list."""
    shelf: Any = Shelf(TOPIC, PUBLISHER)
    config = PolicyConfig(rules=rules, epsilon=EPSILON)
    listed, z = np.tile(SHORTLIST, (LISTS, 1)), np.tile(LOGITS, (LISTS, 1))
    draw = config.draw(z, listed, len(shelf), 2 * PAGE)
    return serve(np.random.default_rng(1), config, draw, shelf.article_id, 0, shelf)


def test_greedy_lists_are_the_best_allowed_page_by_page() -> None:
    served = lists_of("cap(topic,1)", 2, greedy=True)
    # Logits 1, .8, -.3, .5 of articles 0, 1, 3, 5, whose topics are 0, 0, 1, 2.
    assert served.article_id[0].tolist() == [0, 5, 1, 3]
    assert (served.slot_propensity == 1).all()
