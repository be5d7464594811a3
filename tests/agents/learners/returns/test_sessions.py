"""Sessions of logged visits: which visits belong together, what was opened, how long readers then stayed away."""

import numpy as np
import pytest

from feedgym.agents.learners.returns.returns import scan_forward
from feedgym.agents.learners.returns.sessions import ArticleColumns, Sessions, sessions_of
from feedgym.agents.learners.returns.site_clock import SiteClock
from feedgym.env.arrays import Doubles

NAMES = ("text_0", "clickbait_proxy", "quality_proxy", "breaking")
WANTED = ("quality_proxy", "clickbait_proxy")


def articles(names: tuple[str, ...] = NAMES, num: int = 40, seed: int = 0) -> Doubles:
    """Columns of 40 articles."""
    rng = np.random.default_rng(seed)
    columns = ArticleColumns(names, WANTED)
    numeric = (3.0 + 2.0 * rng.normal(size=(num, len(names)))).astype(np.float32)
    publisher = rng.integers(0, 5, num)
    columns.know(numeric, publisher)
    return columns.of(numeric, publisher)


def visits(seed: int = 1, n: int = 300, positions: int = 4) -> dict[str, np.ndarray]:
    """Visits of 12 readers in a ring's order: any. Many are a page apart."""
    rng = np.random.default_rng(seed)
    gap = np.where(rng.random(n) < 0.5, 1.0 / 12.0, rng.exponential(5.0, n))
    row = np.sort(rng.integers(0, 12, n))
    time = np.concatenate([np.cumsum(gap[row == r]) for r in range(12)])
    clicks = rng.random((n, positions)) < 0.25
    order = rng.permutation(n)
    return {
        "row": row[order].astype(np.int32),
        "time": time[order],
        "clicks": clicks[order],
        "article_id": rng.integers(0, 40, (n, positions)),
        "dwell_minutes": (clicks[order] * rng.exponential(2.0, (n, positions))).astype(np.float32),
    }


def test_sessions_equal_those_found_one_visit_at_a_time() -> None:
    seen, columns = visits(), articles()
    now = float(seen["time"].max()) + 3.0
    found = sessions_of(**seen, articles=columns, now=now)
    at = 0
    for reader in range(12):
        mine = np.flatnonzero(seen["row"] == reader)
        mine = mine[np.argsort(seen["time"][mine])]
        chains: list[list[int]] = []
        for visit in mine.tolist():
            if not chains or seen["time"][visit] - seen["time"][chains[-1][-1]] >= 1.0 / 6.0:
                chains.append([])
            chains[-1].append(visit)
        slow = np.zeros(6)
        for place, chain in enumerate(chains):
            opened = seen["article_id"][chain][seen["clicks"][chain]]
            x = np.zeros(6)
            if len(opened):
                x = np.concatenate([[1.0], columns[opened].mean(axis=0), [np.log1p(len(opened))]])
            slow = 0.8 * slow + 0.2 * x
            end, is_last = seen["time"][chain[-1]], place == len(chains) - 1
            back = now if is_last else seen["time"][chains[place + 1][0]]
            assert (found.row[at], found.place[at], found.is_open[at]) == (reader, place, is_last)
            assert found.start[at] == seen["time"][chain[0]]
            assert found.minutes[at] == pytest.approx(seen["dwell_minutes"][chain].sum(), rel=1e-5)
            assert found.gap_hours[at] == pytest.approx(back - end)
            np.testing.assert_allclose(found.x[at], x, atol=1e-12)
            np.testing.assert_allclose(found.slow[at], slow, atol=1e-12)
            at += 1
    assert at == len(found) < 200  # and pages were joined


def test_the_order_of_visits_does_not_matter() -> None:
    seen, columns = visits(), articles()
    turned = {name: values[::-1] for name, values in seen.items()}
    one, other = (sessions_of(**v, articles=columns, now=500.0) for v in (seen, turned))
    for name, values in vars(one).items():
        np.testing.assert_allclose(values, vars(other)[name], rtol=1e-9, atol=1e-12)


def test_columns_are_centred_scaled_and_shrunk() -> None:
    rng = np.random.default_rng(3)
    numeric, publisher = rng.normal(5.0, 3.0, (50, 4)).astype(np.float32), rng.integers(0, 6, 50)
    columns = ArticleColumns(NAMES, WANTED)
    columns.know(numeric[:45], publisher[:45])
    assert columns.names == (
        *("opened", "quality_proxy", "clickbait_proxy"),
        *("publisher_quality_proxy", "publisher_clickbait_proxy", "log_opened"),
    )
    known = columns.of(numeric[:45], publisher[:45])
    np.testing.assert_allclose(known[:, :2].mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(known[:, :2].std(axis=0), 1.0, atol=1e-6)
    raw = numeric[:, [2, 1]].astype(np.float64)
    late = columns.of(numeric, publisher)
    np.testing.assert_allclose(late[:, :2], (raw - raw[:45].mean(axis=0)) / raw[:45].std(axis=0), atol=1e-9)
    for article in (0, 17, 44, 49):
        same = publisher[:45] == publisher[article]
        np.testing.assert_allclose(late[article, 2:], known[same, :2].sum(axis=0) / (same.sum() + 4.0), atol=1e-9)
    alone = columns.opened_alone(numeric[[3, 9]], publisher[[3, 9]])
    np.testing.assert_allclose(alone[:, 1:5], late[[3, 9]])
    assert (alone[:, 0] == 1.0).all()
    assert (alone[:, 5] == np.log(2.0)).all()


def test_publishers_and_numbers_that_were_never_met_say_nothing_wild() -> None:
    columns = ArticleColumns(NAMES, WANTED)
    numeric = np.ones((30, 4), dtype=np.float32)
    columns.know(numeric, np.zeros(30, dtype=np.int64))  # numbers that are the same for all
    found = columns.of(np.array([[0.0, 1e9, 1.0, 0.0]], dtype=np.float32), np.array([7]))
    np.testing.assert_array_equal(found, [[0.0, 5.0, 0.0, 0.0]])


def test_columns_survive_a_snapshot() -> None:
    rng = np.random.default_rng(5)
    numeric, publisher = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 6, 50)
    columns, again = ArticleColumns(NAMES, WANTED), ArticleColumns(NAMES, WANTED)
    columns.know(numeric[:20], publisher[:20])
    again.restore(columns.snapshot())
    assert again.of(numeric, publisher).tobytes() == columns.of(numeric, publisher).tobytes()


def test_a_site_without_such_numbers_has_sessions_all_the_same() -> None:
    assert ArticleColumns(("words",), WANTED).names == ("opened", "log_opened")
    found = sessions_of(**visits(), articles=articles(names=("words",)), now=500.0)
    assert found.x.shape == found.slow.shape == (len(found), 2)
    assert set(np.unique(found.x[:, 0])) == {0.0, 1.0}


def test_no_visits_no_sessions() -> None:
    nothing = {name: values[:0] for name, values in visits().items()}
    found = sessions_of(**nothing, articles=articles(), now=3.0)
    assert isinstance(found, Sessions)
    assert len(found) == 0
    assert found.x.shape == (0, 6)


def test_scanning_forward() -> None:
    addend, factor = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.5, 0.0, 0.5])
    np.testing.assert_allclose(scan_forward(addend, factor), [1.0, 2.5, 3.0, 5.5])


def test_the_clock_knows_the_traffic_of_the_day() -> None:
    rng = np.random.default_rng(0)
    profile: Doubles = 1.0 + 0.6 * np.sin(np.arange(24.0) * np.pi / 12.0)
    start, end = 5.0, 77.0
    hours = np.concatenate([[h] * rng.poisson(400.0 * profile[h % 24]) for h in range(5, 77)])
    clock = SiteClock(hours + rng.random(len(hours)), start, end)
    np.testing.assert_allclose(clock.rate, profile, rtol=0.12)
    assert clock.rate.mean() == pytest.approx(1.0)
    # A day is a day, and within it time runs by the traffic.
    np.testing.assert_allclose(np.diff(clock.at(np.array([3.5, 27.5, 51.5]))), 24.0)
    assert clock.at(np.array([7.0]))[0] - clock.at(np.array([6.0]))[0] == pytest.approx(clock.rate[6])


def test_hours_that_were_never_seen_are_taken_to_be_average() -> None:
    clock = SiteClock(np.linspace(0.0, 5.99, 600), 0.0, 6.0)
    np.testing.assert_allclose(clock.rate, 1.0, rtol=0.02)
