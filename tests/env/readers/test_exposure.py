"""The exposure memory against a plain dict for each reader."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.env.readers.exposure import empty_memory, recall, remember

HALF_LIFE = 24.0


class PlainMemory:
    """One reader's slots: article, decayed count of unclicked exposures and its time, clicked or not."""

    def __init__(self, slots: int) -> None:
        self.num_slots = slots
        self.slots: dict[int, tuple[int, float, float, bool]] = {}

    def recall(self, article: int, now: float) -> tuple[float, bool, bool]:
        """Count now, clicked before, and whether the slot holds another article."""
        held = self.slots.get(article % self.num_slots)
        if held is None or held[0] != article:
            return 0.0, False, held is not None
        _, count, then, clicked = held
        return count * 0.5 ** ((now - then) / HALF_LIFE), clicked, False

    def remember(self, slate: list[tuple[int, bool]], now: float) -> None:
        """All of a slate is recalled before any of it is written."""
        before = [self.recall(article, now) for article, _ in slate]
        for (article, click), (count, clicked, _) in zip(slate, before, strict=True):
            self.slots[article % self.num_slots] = (article, count + (not click), now, clicked or click)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    slots=st.sampled_from([1, 4, 64]),
    num_articles=st.sampled_from([6, 200, 10**9]),
    size=st.integers(1, 9),
)
def test_equals_a_dict_for_each_reader(seed: int, slots: int, num_articles: int, size: int) -> None:
    rng, num_readers = np.random.default_rng(seed), 7
    memory, plain = empty_memory(num_readers, slots), [PlainMemory(slots) for _ in range(num_readers)]
    favourites = rng.integers(0, num_articles, 12)
    now = float(rng.integers(0, 700))
    for _ in range(8):
        now += float(rng.exponential(20.0))
        rows = np.sort(rng.choice(num_readers, int(rng.integers(1, num_readers + 1)), replace=False))
        # Each article once in a slate, as the Feed grants for what is valid.
        pool = np.unique(np.concatenate([favourites, rng.integers(0, num_articles, 4)]))
        k = min(size, len(pool))
        article_id = np.stack([rng.choice(pool, k, replace=False) for _ in rows], axis=1)
        valid = rng.random(article_id.shape) < 0.8
        clicks = valid & (rng.random(article_id.shape) < 0.3)
        clock = np.float32(now / HALF_LIFE)
        seen = recall(memory, rows, article_id, clock)
        for column, row in enumerate(rows):
            expected = [plain[row].recall(int(a), now) for a in article_id[:, column]]
            np.testing.assert_allclose(seen.count[:, column], [e[0] for e in expected], rtol=3e-4, atol=1e-6)
            assert seen.clicked[:, column].tolist() == [e[1] for e in expected]
            assert seen.evicts[:, column].tolist() == [e[2] for e in expected]
            shown = np.flatnonzero(valid[:, column])
            plain[row].remember([(int(article_id[p, column]), bool(clicks[p, column])) for p in shown], now)
        remember(memory, seen, article_id, clicks, valid, clock)


def visit(memory: Any, article: int, now: float, *, click: bool = False) -> Any:
    ids, clock, row = np.array([[article]]), np.float32(now / HALF_LIFE), np.array([0])
    seen = recall(memory, row, ids, clock)
    remember(memory, seen, ids, np.array([[click]]), np.array([[True]]), clock)
    return seen


def test_exposures_add_up_and_halve() -> None:
    memory = empty_memory(1, 64)
    counts = [float(visit(memory, 5, now).count[0, 0]) for now in (0.0, 0.0, 24.0, 24.0)]
    np.testing.assert_allclose(counts, [0.0, 1.0, 1.0, 2.0], rtol=1e-6)  # 2 exposures at hour 0 are 1 at hour 24


def test_a_click_leaves_the_count_and_is_remembered() -> None:
    memory = empty_memory(1, 64)
    visit(memory, 5, 0.0)
    visit(memory, 5, 0.0, click=True)
    seen = visit(memory, 5, 0.0)
    assert (float(seen.count[0, 0]), bool(seen.clicked[0, 0])) == (1.0, True)
    assert bool(visit(memory, 5, 30.0).clicked[0, 0])  # an exposure does not unclick
    first_click = empty_memory(1, 64)
    visit(first_click, 5, 0.0, click=True)
    assert float(visit(first_click, 5, 0.0).count[0, 0]) == 0.0


def test_an_article_64_ids_later_evicts() -> None:
    memory = empty_memory(1, 64)
    visit(memory, 5, 0.0, click=True)
    seen = visit(memory, 69, 0.0)
    assert (bool(seen.evicts[0, 0]), bool(seen.clicked[0, 0]), float(seen.count[0, 0])) == (True, False, 0.0)
    assert not visit(memory, 5, 0.0).clicked[0, 0]
    assert not visit(memory, 6, 0.0).evicts[0, 0]


def test_rows_do_not_mix() -> None:
    memory = empty_memory(3, 4)
    ids, clock = np.array([[8, 9]]), np.float32(0.0)
    seen = recall(memory, np.array([0, 2]), ids, clock)
    remember(memory, seen, ids, np.array([[True, False]]), np.array([[True, True]]), clock)
    again = recall(memory, np.array([0, 1, 2]), np.array([[8, 8, 9]]), clock)
    assert again.known.tolist() == [[True, False, True]]
    assert again.clicked.tolist() == [[True, False, False]]
