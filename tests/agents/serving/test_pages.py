"""Pages of lists drawn ahead: which places a visit shows, and the chance of that, by enumeration of all lists."""

from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from feedgym.agents.agent import visit_noise
from feedgym.agents.serving.pages import Page, list_columns, next_pages, page_draw, page_slates, without_expired
from feedgym.agents.slate_policy import Draw, draw_slates, slate_marginals
from feedgym.agents.slate_policy.slates import Slates
from helpers.chances import p_value
from helpers.plain.policy import plain_joint, plain_softmax

LIVE = list(range(7))
SHORTLIST, LOGITS = [1, 3, 4, 6, -1], [1.0, 0.2, -0.5, 0.7, 0.0]
EPSILON, SIZE = 0.3, 2


def plain_page(row: list[int], start: int, live: list[bool], allowed: list[bool], size: int) -> dict[str, Any]:
    """Walk down a list."""
    place: list[int] = []
    expired = excluded = 0
    at = start
    while len(place) < size and at < len(row):
        if row[at] >= 0 and live[at] and allowed[at]:
            place.append(at)
        elif row[at] >= 0:
            expired, excluded = expired + (not live[at]), excluded + live[at]
        at += 1
    return {"place": place + [-1] * (size - len(place)), "end": at, "expired": expired, "excluded": excluded}


def test_a_visit_shows_the_next_that_are_live_and_allowed() -> None:
    rng = np.random.default_rng(3)
    n, depth, size = 400, 9, 3
    lists = np.argsort(rng.random((n, 30)), axis=1)[:, :depth]
    lists[np.arange(depth) >= rng.integers(4, depth + 1, n)[:, None]] = -1
    start = rng.integers(0, depth + 1, n)
    live, allowed = rng.random((n, depth)) < 0.6, rng.random((n, depth)) < 0.8
    page = next_pages(lists, start, live, allowed, size, filled=True)
    ends = 0
    for i in range(n):
        row = plain_page(lists[i].tolist(), int(start[i]), live[i].tolist(), allowed[i].tolist(), size)
        seen = {name: np.asarray(getattr(page, name))[i].tolist() for name in row}
        assert seen == row
        ends += row["place"][-1] < 0
    assert 50 < ends < n - 50
    assert page.take(lists, -1)[page.place < 0].tolist() == [-1] * int((page.place < 0).sum())


def test_under_rules_pages_are_shown_as_they_were_drawn() -> None:
    lists = np.array([[4, 5, 6, 7, -1, 8], [1, 2, 3, -1, -1, -1]])
    live = np.array([[True, False, True, True, False, True], [True] * 6])
    allowed = np.array([[False, True, True, True, False, False], [True] * 6])
    page = next_pages(lists, np.array([0, 3]), live, allowed, 3, filled=False)
    assert page.place.tolist() == [[0, 1, 2], [-1, -1, -1]]
    assert (page.end.tolist(), page.expired.tolist(), page.excluded.tolist()) == ([3, 6], [1, 0], [1, 0])
    again = next_pages(lists, page.end, live, allowed, 3, filled=False)
    assert again.place.tolist() == [[3, -1, 5], [-1, -1, -1]]
    assert (again.end.tolist(), again.expired.tolist(), again.excluded.tolist()) == ([6, 6], [0, 0], [1, 0])


def draw_of(rows: int, depth: int, **more: Any) -> Draw:
    each = {"epsilon": np.full(rows, EPSILON), "greedy": np.zeros(rows, dtype=bool)} | more
    return Draw(
        np.tile(np.array(LOGITS), (rows, 1)),
        np.tile(np.array(SHORTLIST), (rows, 1)),
        len(LIVE),
        slate_size=depth,
        **each,
    )


def shown(lists: np.ndarray, start: np.ndarray, gone: set[int], draw: Draw, size: int = SIZE) -> tuple[Page, Slates]:
    """The pages of lists once some articles are gone."""
    there = ~np.isin(lists, list(gone))
    page = next_pages(lists, start, there, np.ones(lists.shape, dtype=bool), size, filled=True)
    left = ~np.isin(draw.shortlist, list(gone))
    column = list_columns(draw, lists, page)
    rest = page_draw(draw, lists, column, page, left, len(LIVE) - len(gone), there)
    return page, page_slates(draw, lists, column, np.zeros(len(lists), dtype=bool), page, rest)


@pytest.mark.parametrize("gone", [(), (3,), (1, 0), (6, 1, 3, 4)])
def test_chances_of_pages_are_those_of_all_lists_that_show_them(gone: tuple[int, ...]) -> None:
    """Lists as long as the catalogue: every page of two, once some articles have gone, and the pages below it."""
    joint = plain_joint(plain_softmax(LOGITS, SHORTLIST), LIVE, EPSILON, len(LIVE))
    lists, chance = np.array(list(joint)), np.array(list(joint.values()))
    draw = draw_of(len(lists), len(LIVE))
    start = np.zeros(len(lists), dtype=np.int64)
    for later in range(3):  # with what is gone on the first page, and one more of them on each further one
        page, slates = shown(lists, start, {*gone, *((2, 5)[:later])}, draw)
        above = np.where(np.arange(len(LIVE)) < start[:, None], lists, -2)
        of_page: dict[tuple[Any, ...], float] = defaultdict(float)
        of_above: dict[tuple[Any, ...], float] = defaultdict(float)
        keys = [(tuple(a), tuple(s)) for a, s in zip(above.tolist(), slates.article_id.tolist(), strict=True)]
        for key, p in zip(keys, chance.tolist(), strict=True):
            of_page[key] += p
            of_above[key[0]] += p
        full = (slates.article_id >= 0).all(axis=1)
        exact = np.array([of_page[key] / of_above[key[0]] for key in keys])
        np.testing.assert_allclose(np.exp(slates.log_propensity[full]), exact[full], rtol=1e-9)
        np.testing.assert_allclose(np.log(slates.slot_propensity).sum(axis=1), slates.log_propensity, atol=1e-12)
        # Seven articles are enough for full pages down to here.
        assert len(gone) + 3 * later > 5 or full.sum() > 1000
        start = page.end
    # Not by the chances of the whole list's first places, had nothing gone.
    if gone == (3,):
        whole = draw_slates(np.random.default_rng(0), draw_of(1, SIZE), np.array(LIVE))
        assert abs(np.exp(whole.log_propensity[0]) - exact[0]) > 1e-3


def test_marginals_of_a_first_page_are_those_of_what_is_left() -> None:
    """Inclusion and slot marginals follow from what the page is drawn from, as everywhere."""
    joint = plain_joint(plain_softmax(LOGITS, SHORTLIST), LIVE, EPSILON, len(LIVE))
    lists, chance = np.array(list(joint)), np.array(list(joint.values()))
    draw, gone = draw_of(len(lists), len(LIVE)), {3, 0}
    there = ~np.isin(lists, list(gone))
    start = np.zeros(len(lists), dtype=np.int64)
    page = next_pages(lists, start, there, np.ones(lists.shape, dtype=bool), SIZE, filled=True)
    left = ~np.isin(draw.shortlist, list(gone))
    rest = page_draw(draw, lists, list_columns(draw, lists, page), page, left, len(LIVE) - 2, there)
    ids = page.take(lists, -1)
    found = slate_marginals(ids[:40], rest.rows(np.arange(40)))
    for row, slate in enumerate(ids[:40].tolist()):
        for k, a in enumerate(slate):
            assert found.inclusion[row, k] == pytest.approx(chance[(ids == a).any(axis=1)].sum(), rel=1e-6)
            assert found.slot_marginal[row, k] == pytest.approx(chance[ids[:, k] == a].sum(), rel=1e-6)


def test_lists_and_their_first_pages_come_as_often_as_they_say() -> None:
    rows, depth = 40_000, 4
    draw = draw_of(rows, depth)
    lists = draw_slates(visit_noise(5, np.arange(rows), np.arange(rows) % 7), draw, np.array(LIVE)).article_id
    p = plain_softmax(LOGITS, SHORTLIST)
    assert p_value(lists, plain_joint(p, LIVE, EPSILON, depth)) > 1e-3
    assert p_value(lists[:, :SIZE], plain_joint(p, LIVE, EPSILON, SIZE)) > 1e-3
    _, slates = shown(lists, np.zeros(rows, dtype=np.int64), {4, 2}, draw)
    left = {a: x / (1 - p[4]) for a, x in p.items() if a != 4}
    assert p_value(slates.article_id, plain_joint(left, [0, 1, 3, 5, 6], EPSILON, SIZE)) > 1e-3
    # The check can fail: more exploration; one coin a page instead of one a list.
    assert p_value(lists[:, :SIZE], plain_joint(p, LIVE, EPSILON + 0.05, SIZE)) < 1e-6
    page, _ = shown(lists, np.zeros(rows, dtype=np.int64), set(), draw)
    _, second = shown(lists, page.end, set(), draw)
    first: Any = np.isin(lists[:, :SIZE], [0, 2, 5]).any(axis=1)
    other: Any = np.isin(second.article_id, [0, 2, 5]).any(axis=1)
    assert other[first].mean() > 3 * other[~first].mean()


def test_of_a_shortlist_that_is_gone_only_exploration_is_left() -> None:
    lists = np.array([[0, 1, 2, 3], [1, 3, 4, 6], [2, 5, 0, 1]])
    draw = draw_of(3, 4, epsilon=np.array([EPSILON, EPSILON, 0.0]), greedy=np.array([False, False, True]))
    _, slates = shown(lists, np.zeros(3, dtype=np.int64), {1, 3, 4, 6}, draw)
    assert slates.article_id.tolist() == [[0, 2], [-1, -1], [2, 5]]
    # Three are left, and the visit explores with its chance; the greedy list is certain.
    np.testing.assert_allclose(slates.slot_propensity, np.array([[EPSILON / 3, 0.5], [1, 1], [1, 1]]))
    assert np.isnan(slates.log_normaliser).all()


def test_entries_taken_out_leave_the_rest_as_it_was() -> None:
    drawn = Slates(
        article_id=np.array([[5, 6, 7], [8, 9, -1]]),
        slot_propensity=np.array([[0.5, 0.4, 0.3], [0.2, 0.1, 1.0]]),
        log_propensity=np.log([0.06, 0.02]),
        explored=np.array([True, False]),
        in_shortlist=np.array([[True, False, True], [True, True, False]]),
        logit=np.array([[1.0, np.nan, 0.5], [0.0, 0.1, np.nan]]),
        log_normaliser=np.array([2.0, 3.0]),
    )
    live = np.array([[True, False, True], [False, True, False]])
    left = without_expired(drawn, live)
    assert left.article_id.tolist() == [[5, -1, 7], [-1, 9, -1]]
    assert left.slot_propensity.tolist() == [[0.5, 1.0, 0.3], [1.0, 0.1, 1.0]]
    assert left.log_propensity.tolist() == drawn.log_propensity.tolist()  # of the slate as drawn
    assert left.in_shortlist.tolist() == [[True, False, True], [False, True, False]]
    np.testing.assert_array_equal(left.logit, [[1.0, np.nan, 0.5], [np.nan, 0.1, np.nan]])
    assert drawn.article_id.tolist() == [[5, 6, 7], [8, 9, -1]]
    assert without_expired(left, np.ones((2, 3), dtype=bool)) is left
