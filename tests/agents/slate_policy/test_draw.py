"""What slates are drawn from, as one record: checked at the border, taken by rows, joined over ticks."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.slate_policy import (
    Draw,
    draw_slates,
    inclusion_probability,
    sample_slates,
    slate_chances,
    slate_log_propensity,
    slate_marginals,
    slot_marginal,
)
from feedgym.agents.slate_policy.served import Ahead, Served
from feedgym.agents.slate_policy.slates import Slates
from feedgym.agents.slate_policy.softmax import columns_in_shortlist
from feedgym.env import arrays

LIVE = np.arange(40)


def arguments(visits: int, listed: int = 8) -> tuple[Any, Any, Any, float, int]:
    rng = np.random.default_rng(visits)
    shortlist = rng.permuted(np.tile(LIVE, (visits, 1)), axis=1)[:, :listed]
    return 2.0 * rng.standard_normal((visits, listed)), shortlist, len(LIVE), 0.2, 4


def test_the_public_functions_are_the_inner_ones_of_the_record() -> None:
    given = arguments(30)
    logits, shortlist, num_live, epsilon, size = given
    slates = sample_slates(np.random.default_rng(3), logits, shortlist, LIVE, size, epsilon)
    again = draw_slates(np.random.default_rng(3), Draw.of(*given), LIVE)
    for name, values in vars(slates).items():
        np.testing.assert_array_equal(getattr(again, name), values)
    joint, slot = slate_log_propensity(slates.article_id, logits, shortlist, num_live, epsilon)
    for mine, theirs in zip(slate_chances(slates.article_id, Draw.of(*given)), (joint, slot), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    found = slate_marginals(slates.article_id, Draw.of(*given))
    np.testing.assert_array_equal(found.inclusion, inclusion_probability(slates.article_id, *given))
    np.testing.assert_array_equal(found.slot_marginal, slot_marginal(slates.article_id, *given))


def test_rows_are_those_of_the_visits_and_scalars_stay() -> None:
    logits, shortlist, num_live, _, size = arguments(5)
    draw = Draw(logits, shortlist, num_live, np.array([0.1, 0.2, 0.3, 0.4, 0.5]), size)
    for which in (np.array([3, 0, 3]), np.array([True, False, False, True, False])):
        some = draw.rows(which)
        np.testing.assert_array_equal(some.logits, logits[which])
        np.testing.assert_array_equal(some.shortlist, shortlist[which])
        np.testing.assert_array_equal(some.epsilon, np.asarray(draw.epsilon)[which])
        assert (some.num_live, some.slate_size, some.greedy, len(some)) == (
            num_live,
            size,
            False,
            len(shortlist[which]),
        )


def test_joined_rows_have_the_chances_that_they_have_alone() -> None:
    one, two = Draw.of(*arguments(3, listed=8)), Draw.of(*arguments(4, listed=12))
    both = Draw.joined([one, two])
    assert both.shortlist.shape == (7, 12)
    assert both.shortlist_size.tolist() == [8] * 3 + [12] * 4
    slates = draw_slates(np.random.default_rng(0), both, LIVE).article_id
    expected = [slate_chances(slates[:3], one)[1], slate_chances(slates[3:], two)[1]]
    np.testing.assert_allclose(slate_chances(slates, both)[1], np.concatenate(expected), rtol=1e-12)


def test_what_does_not_fit_is_refused_by_its_name() -> None:
    logits, shortlist, num_live, epsilon, size = arguments(3)
    for change, message in (
        ({"logits": logits[:, :2]}, "logits: got"),
        ({"shortlist": shortlist - 5}, "shortlist: got -5"),
        ({"shortlist": np.zeros_like(shortlist)}, "shortlist: got 'article 0 twice in row 0'"),
        ({"num_live": 0}, "num_live: got 0"),
        ({"epsilon": 1.5}, "epsilon: got"),
        ({"slate_size": 0}, "slate_size: got 0, needs an integer >= 1"),
    ):
        given = {"logits": logits, "shortlist": shortlist, "num_live": num_live, "epsilon": epsilon, "slate_size": size}
        with pytest.raises(ValueError, match=message):
            Draw.of(**{**given, **change})


def test_rows_of_served_slates_reach_all_that_is_in_them() -> None:
    draw = Draw.of(*arguments(4))
    slates = draw_slates(np.random.default_rng(0), draw, LIVE)
    ahead = Ahead(slates, np.arange(4.0), np.arange(4), np.tile(np.arange(4), (4, 1)), np.arange(4), np.arange(4))
    marginals = slate_marginals(slates.article_id, draw)
    served = Served(
        **vars(slates), draw=draw, temperature=1.0, policy_version=2, given_marginals=marginals, ahead=ahead
    )
    some = arrays.rows_of(served, np.array([2, 1]))
    assert isinstance(some, Served)
    assert some.ahead is not None
    assert some.given_marginals is not None
    np.testing.assert_array_equal(some.article_id, slates.article_id[[2, 1]])
    np.testing.assert_array_equal(some.draw.logits, draw.logits[[2, 1]])
    np.testing.assert_array_equal(some.ahead.drawn.article_id, slates.article_id[[2, 1]])
    np.testing.assert_array_equal(some.ahead.made_hours, [2.0, 1.0])
    np.testing.assert_array_equal(some.given_marginals.inclusion, marginals.inclusion[[2, 1]])
    assert (some.temperature, some.policy_version) == (1.0, 2)
    shared = arrays.rows_of(served, np.array([0]), shared=("logit",))
    assert shared.logit.shape == (4, 4)
    assert Slates(**vars(slates)).article_id is slates.article_id


def test_array_types_have_their_names_from_one_module() -> None:
    """Outside ``towers``, which imports nothing of the others."""
    root, names = Path(__file__).parents[3], set(vars(arrays))
    for folder in ("env", "agents", "experiments"):
        for path in sorted((root / folder).rglob("*.py")):
            if path == root / "env" / "arrays.py":
                continue
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Assign) and "NDArray[" in ast.unparse(node.value):
                    defined = {target.id for target in node.targets if isinstance(target, ast.Name)}
                    assert not defined & names, f"{path}: {defined & names} is in env/arrays.py"


@pytest.mark.parametrize("lowest", [0, 10**7])
@pytest.mark.parametrize("span", [40, 10**6])
def test_columns_of_articles_by_table_and_one_by_one(lowest: int, span: int) -> None:
    """Few ids are looked up in a table, many are compared: the same columns."""
    rng = np.random.default_rng(2)
    shortlist, articles = (np.argsort(rng.random((9, 40)), axis=1)[:, :w] * (span // 40) + lowest for w in (12, 7))
    shortlist[0], shortlist[1, 5:], articles[2:4, 4:], articles[4, 0] = -1, -1, -1, lowest + 2 * span
    found = columns_in_shortlist(articles, shortlist)
    pairs = zip(articles.tolist(), shortlist.tolist(), strict=True)
    plain = [[row.index(a) if a >= 0 and a in row else -1 for a in ids] for ids, row in pairs]
    assert found.tolist() == plain
    assert (found[1:] >= 0).sum() > 10
    assert columns_in_shortlist(articles, np.full((9, 3), -1)).max() == -1
