"""Editorial rules: exact propensities against plain enumeration, and rules that hold whatever the site does."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from feedgym.agents.agent import Site
from feedgym.agents.baselines.popularity import BaselineAgent
from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.slate_policy.policy import PolicyConfig
from feedgym.agents.slate_policy.served import Served
from helpers.chances import p_value
from helpers.plain.slates import (
    CASES,
    LOGITS,
    PUBLISHER,
    SHORTLIST,
    TOPIC,
    UNSEEN,
    Shelf,
    check_propensities,
    draw,
    plain_slates,
)


@pytest.mark.parametrize("epsilon", [0.3, 0.0, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_slates_are_served_at_their_stated_chance(case: str, epsilon: float) -> None:
    shelf, size, n = Shelf(TOPIC, PUBLISHER), 3, 20_000
    rules = rules_of(CASES[case])
    exact = plain_slates(shelf, rules, SHORTLIST, LOGITS, size, epsilon)
    assert abs(sum(exact.values()) - 1) < 1e-9
    served = draw(shelf, CASES[case], SHORTLIST, LOGITS, size, n, epsilon=epsilon)
    check_propensities(served, exact)
    assert p_value(served.article_id, exact) > 1e-4


PARTS = {
    "exclude": "exclude(0)",
    "cap": "cap(publisher,1)",
    "pin": "pin(7,1)",
    "pinned kind": "pin(topic=1,0)",
    "share": "share(topic=0,0.3)",
}

MIXES = [mix for number in range(1, 6) for mix in itertools.combinations(PARTS, number)]

OF_ALL = np.array([1.0, 0.8, 0.1, 0.3, -0.4, 0.5, 0.2, 0.4])
"""A logit for each article, before temperature and boost."""


class Crowd:
    """The first visits of n readers: all that a baseline asks of them."""

    def __init__(self, n: int) -> None:
        self.reader_id, self.visit = np.arange(n), np.zeros(n, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.reader_id)


def softened(rules: str, epsilon: float, temperature: float, boost: float, n: int, seed: int) -> Served:
    """The shipped way from logits on: temperature, boost, shortlist, rules."""
    policy = PolicyConfig(
        rules=rules,
        epsilon=epsilon,
        temperature=temperature,
        shortlist_size=6,
        new_boost=boost,
        new_hours=3.5,
        new_impressions=1,
    )
    sizes = (4, 3, 1)
    site = Site(slate_size=3, history_length=1, num_numeric=2, category_sizes=sizes, num_reader_features=0, seed=seed)
    agent = BaselineAgent(site, policy, lambda _, catalogue: OF_ALL[catalogue.article_id])
    shelf: Any = Shelf(TOPIC, PUBLISHER)
    visits: Any = Crowd(n)
    return agent.act(visits, shelf)


def plain_softened(rules: str, epsilon: float, temperature: float, boost: float) -> dict[tuple[int, ...], float]:
    """Chance of every slate: articles 7 (age 3 of 10 hours) and 2 (never shown) are new; the best six are listed."""
    shelf: Any = Shelf(TOPIC, PUBLISHER)
    out = shelf.article_id[rules_of(rules).excluded(shelf)].tolist()
    logit = {a: OF_ALL[a] / temperature + boost * (a in (UNSEEN, 7)) for a in range(8) if a not in out}
    best = sorted(logit, key=lambda a: -logit[a])[:6]
    return plain_slates(shelf, rules_of(rules), best, [logit[a] for a in best], 3, epsilon)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("mix", MIXES, ids=["+".join(mix) for mix in MIXES])
def test_any_mix_of_rules_with_boost_and_temperature_is_served_at_its_stated_chance(
    mix: tuple[str, ...], epsilon: float
) -> None:
    rules = "+".join(PARTS[part] for part in mix)
    exact = plain_softened(rules, epsilon, 0.7, 0.6)
    # A seed of its own: under one seed the cases would share one luck.
    served = softened(rules, epsilon, 0.7, 0.6, 10_000, seed=2 * MIXES.index(mix) + (epsilon > 0))
    check_propensities(served, exact)
    assert p_value(served.article_id, exact) > 1e-4
    # Controls: another temperature, no boost, more exploration, or a rule left out is refused wherever it shows.
    others = [plain_softened(rules, *other) for other in ((epsilon, 1.0, 0.6), (epsilon, 0.7, 0.0), (0.4, 0.7, 0.6))]
    fewer = ["+".join(PARTS[each] for each in mix if each != part) for part in mix]
    others += [plain_softened(less, epsilon, 0.7, 0.6) for less in fewer]
    refused = [p_value(served.article_id, other) < 1e-6 for other in others]
    apart = [10_000 * distance(exact, other) for other in others]
    assert [i for i, each in enumerate(apart) if each > 300 and not refused[i]] == []
    assert sum(refused) >= (3 if len(exact) > 3 else 1)


def distance(p: dict[tuple[int, ...], float], q: dict[tuple[int, ...], float]) -> float:
    """What chi-square expects of a draw from p that is held against q, for each slate drawn."""
    beyond = any(p[slate] > 0 and q.get(slate, 0.0) == 0.0 for slate in p)
    return math.inf if beyond else sum((p.get(s, 0.0) - q[s]) ** 2 / q[s] for s in q if q[s] > 0)


def test_the_chi_square_refuses_another_rule() -> None:
    shelf, size, n = Shelf(TOPIC, PUBLISHER), 3, 20_000
    exact = plain_slates(shelf, rules_of("cap(topic=0,1)"), SHORTLIST, LOGITS, size, 0.3)
    other = draw(shelf, "cap(topic=1,1)", SHORTLIST, LOGITS, size, n, epsilon=0.3)
    assert any(tuple(row) not in exact for row in other.article_id.tolist())


def test_weights_that_underflow_are_still_drawn_where_rules_leave_nothing_better() -> None:
    shelf = Shelf(TOPIC, PUBLISHER)
    served = draw(shelf, "cap(topic,1)", [0, 1, 3, 5], [2000.0, 1000.0, -3000.0, -3000.5], 3, 4000, epsilon=0.0)
    assert (served.article_id[:, 0] == 0).all()
    share = (served.article_id[:, 1] == 3).mean()
    exact = 1 / (1 + math.exp(-0.5))
    assert abs(share - exact) < 4 * math.sqrt(exact * (1 - exact) / 4000)
    is_three = served.article_id[:, 1] == 3
    np.testing.assert_allclose(served.slot_propensity[:, 1], np.where(is_three, exact, 1 - exact), rtol=1e-12)
    assert (served.slot_propensity[:, [0, 2]] == 1).all()


def test_greedy_slates_are_the_best_that_rules_allow() -> None:
    shelf = Shelf(TOPIC, PUBLISHER)
    served = draw(shelf, "cap(topic,1)", SHORTLIST, LOGITS, 3, 2, greedy=True)
    assert served.article_id.tolist() == [[0, 5, 3]] * 2
    assert (served.slot_propensity == 1).all()
    assert (served.inclusion == 1).all()
    pinned = draw(shelf, "pin(4,0)+cap(topic,1)", SHORTLIST, LOGITS, 3, 1, greedy=True)
    assert pinned.article_id.tolist() == [[4, 0, 5]]


def test_exclusions_keep_inclusion_exact_and_other_rules_say_that_they_do_not_know_it() -> None:
    shelf = Shelf(TOPIC, PUBLISHER)
    served = draw(shelf, "exclude(topic=1)", SHORTLIST, LOGITS, 3, 1, epsilon=0.3)
    exact = plain_slates(shelf, rules_of("exclude(topic=1)"), SHORTLIST, LOGITS, 3, 0.3)
    for a, inclusion in zip(served.article_id[0].tolist(), served.inclusion[0], strict=True):
        assert inclusion == pytest.approx(sum(p for slate, p in exact.items() if a in slate), rel=1e-4)
    assert served.num_live == 6
    ruled = draw(shelf, "cap(topic,1)", SHORTLIST, LOGITS, 4, 1, epsilon=0.3)
    assert np.isnan(ruled.inclusion[0, :3]).all()
    assert np.isnan(ruled.inclusion_time).all()
    assert (ruled.article_id[0, 3], ruled.inclusion[0, 3], ruled.num_unfilled) == (-1, 1.0, 1)


def test_an_exclusion_that_empties_a_shortlist_leaves_the_newest() -> None:
    shelf = Shelf(TOPIC, PUBLISHER)
    served = draw(shelf, "exclude(topic=0)", [0, 1, 2], [1.0, 2.0, 3.0], 3, 5, epsilon=0.0)
    assert set(served.article_id.ravel().tolist()) == {5, 6, 7}
    none = draw(shelf, "exclude(age_hours>0)", [0, 1, 2], [1.0, 2.0, 3.0], 3, 5, epsilon=0.1)
    assert (none.article_id == -1).all()
    assert none.num_unfilled == 15
    assert (none.log_propensity == 0).all()


def test_bounds_of_observable_columns() -> None:
    shelf: Any = Shelf(TOPIC, PUBLISHER, clickbait=np.arange(8) / 8)
    assert rules_of("exclude(clickbait_proxy>0.7)").excluded(shelf).nonzero()[0].tolist() == [6, 7]
    assert rules_of("exclude(age_hours<5)").excluded(shelf).nonzero()[0].tolist() == [6, 7]
    with pytest.raises(ValueError, match="exclude: got 'quality', needs one of age_hours, text_0, clickbait_proxy"):
        rules_of("exclude(quality<0.5)").excluded(shelf)


def test_a_shortlist_of_everything_and_one_of_few_agree_on_uniform_logits() -> None:
    # Equal logits over all articles are exploration: what is in the shortlist must not matter.
    shelf, rules = Shelf(TOPIC, PUBLISHER), rules_of("cap(topic,1)+pin(topic=1,1)")
    one = plain_slates(shelf, rules, [-1], [0.0], 3, 1.0)
    two = plain_slates(shelf, rules, list(range(8)), [0.0] * 8, 3, 0.0)
    assert one == pytest.approx(two)
    for slate in itertools.islice(one, 5):
        assert len(set(slate)) == 3
