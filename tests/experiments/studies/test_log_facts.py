"""Facts of a log: each counts what it says, alike for a log that was written and for a site's own."""

import csv
import dataclasses
import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.studies.worlds import log_facts as facts_module
from feedgym.experiments.studies.worlds import measured_facts
from feedgym.experiments.studies.worlds.log_facts import (
    FactsLog,
    log_facts,
    odds_by_sights,
    own_hour,
    read_log,
    session_gaps,
    table,
    weibull_shape,
)
from feedgym.experiments.studies.worlds.public_logs import main as public_logs
from feedgym.experiments.studies.worlds.public_logs import write_public_logs


def log(**columns: Any) -> FactsLog:
    """Slates of one article; what is not given is 0."""
    n = len(columns["hours"])
    zero: Any = {name: np.zeros(n, dtype=np.int64) for name in ("reader", "article")}
    zero |= {"slate": np.arange(n), "clicked": np.zeros(n, dtype=bool)}
    given: Any = {name: np.asarray(c) if isinstance(c, list) else c for name, c in (zero | columns).items()}
    return FactsLog(**given)


@pytest.mark.parametrize("shape", [0.53, 0.9, 2.0])
def test_the_shape_of_weibull_gaps_is_found(shape: float) -> None:
    gaps = 17.0 * np.random.default_rng(1).weibull(shape, 20_000)
    found = weibull_shape(gaps)
    assert found == pytest.approx(stats.weibull_min.fit(gaps, floc=0)[0], rel=1e-3)
    assert abs(found - shape) < 4.0 * 0.78 * shape / math.sqrt(len(gaps))
    assert math.isnan(weibull_shape(np.ones(5)))


def test_half_an_hour_of_silence_ends_a_session() -> None:
    run = log(hours=[0.0, 0.4, 0.9, 1.5, 20.0, 3.0], reader=[1, 1, 1, 1, 1, 2], session=[0, 0, 1, 1, 2, 0])
    found = log_facts(run)
    # 0, .4, .9 | 1.5 | 20 of reader 1, and one slate of reader 2; the log's own numbers split elsewhere.
    assert found["slates per session"] == pytest.approx(6 / 4)
    assert found["sessions of one slate"] == pytest.approx(3 / 4)
    assert found["gap p50, h"] == pytest.approx((0.6 + 18.5) / 2)
    assert found["slates per session, by number"] == pytest.approx(6 / 4)
    assert found["gap p50, h, by number"] == pytest.approx((0.5 + 18.5) / 2)
    assert math.isnan(log_facts(dataclasses.replace(run, session=None))["gap p50, h, by number"])
    starts = np.array([True, False, False, True, True, True])
    gaps, sizes = session_gaps(np.array([1, 1, 1, 1, 1, 2]), np.array([0.0, 0.4, 0.9, 1.5, 20.0, 3.0]), starts)
    assert gaps.tolist() == pytest.approx([0.6, 18.5])
    assert sizes.tolist() == [3, 1, 1, 1]


def test_slates_of_several_articles_are_one_visit() -> None:
    run = log(hours=[0.0, 0.0, 5.0, 5.0, 5.0], slate=np.array([0, 0, 1, 1, 1]), article=[1, 2, 1, 2, 3])
    assert log_facts(run)["slates per session"] == 1.0
    assert log_facts(run)["gap p50, h"] == 5.0


def test_repeats_count_what_was_shown() -> None:
    """Ten readers are shown an article five times; who clicked is left out from then on."""
    reader, moment = np.repeat(np.arange(10), 5), np.tile(np.arange(5), 10)
    clicked = ((moment == 0) & (reader < 4)) | ((moment == 2) & (reader == 5))
    expected = [0.0, (1 / 5) / (4 / 6), 0.0, 0.0]
    assert odds_by_sights(reader, np.zeros(50, dtype=np.int64), moment, clicked, 4) == pytest.approx(expected)
    found = log_facts(log(hours=moment * 10.0, reader=reader, clicked=clicked))
    assert [found[f"odds once shown {n} times"] for n in ("1", "2", "3", "4+")] == pytest.approx(expected)
    shuffled = np.random.default_rng(0).permutation(50)
    assert odds_by_sights(
        reader[shuffled], np.zeros(50, dtype=np.int64), moment[shuffled], clicked[shuffled], 4
    ) == pytest.approx(expected)


def test_an_hour_of_ones_own_is_told_from_the_sites_day() -> None:
    rng = np.random.default_rng(2)
    reader, day = np.repeat(np.arange(400), 20), np.tile(np.arange(20), 400) * 24.0
    # All alike, with a peak: no own hours. Then half of the sessions at an own hour within half a day.
    alike: Any = day + np.mod(rng.normal(12.0, 4.0, 8000), 24.0)
    assert abs(own_hour(reader, alike)) < 0.01
    own: Any = np.where(rng.random(8000) < 0.5, (rng.random(400) * 24.0)[reader], rng.random(8000) * 24.0)
    # Pairs of sessions that are both at the own hour: a quarter.
    assert own_hour(reader, day + own) == pytest.approx(0.25, abs=0.02)
    assert math.isnan(own_hour(reader, alike, least=21))


def test_gaps_of_whole_days() -> None:
    found = log_facts(log(hours=[0.0, 24.5, 46.0, 82.0, 83.0]))
    # 24.5, 21.5 and 36 hours: half an hour, 2.5 and 12 hours off; the gap of an hour does not count.
    assert found["gaps over 12 h within 1 h of whole days"] == pytest.approx(1 / 3)
    assert found["gaps over 12 h within 3 h of whole days"] == pytest.approx(2 / 3)


def test_read_times_of_zero_and_of_what_was_not_clicked_are_not_read_times() -> None:
    clicked = np.array([True, True, True, False])
    run = log(hours=[0.0, 1.0, 2.0, 3.0], clicked=clicked, read_seconds=np.array([10.0, 30.0, 0.0, 99.0]))
    assert log_facts(run)["read time p50, s"] == 20.0


def test_a_written_log_says_what_the_run_was(tmp_path: Path) -> None:
    """Through the normal writer and reader, and from the run itself: the same facts, to the minutes' float32."""
    agent = measured_facts.POLICIES["recent"]
    assert agent is not None
    config = LogConfig(
        agent=agent, epsilon=0.05, world="measured", readers=90, days=1.0, seed=4, out=tmp_path, evaluate_visits=0
    )
    make_log(config)
    size = measured_facts.FactsConfig(readers=90, days=1.0)
    month = measured_facts.simulate("recent", 4, size)
    lived, written = log_facts(measured_facts.log_of(month)), log_facts(read_log(tmp_path))
    assert lived.keys() == written.keys()
    for name, value in lived.items():
        assert written[name] == pytest.approx(value, rel=1e-5, nan_ok=True), name
    assert lived["slates per session"] > 1.5


# A site's own log


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_public_logs_become_a_sites_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tiny files in the columns of the sets: hours of the day stay, unknown positions are unknown."""
    day = "2023-02-0{}T{:02d}:00:00"
    slates = [
        {"user_id": 7, "group": group, "session": s, "slate_id": s, "timestamp": day.format(s, 8), "device": "PC"}
        | {"position": p, "topic": "x", "topic_pref": "", "clicked": int(p == 0)}
        for s, group in ((1, "random"), (2, "rec_A"))
        for p in (0, 1)
    ]
    write(tmp_path / "news_slates_3bij3" / "slates.csv.gz", slates)
    clicks = [
        {"user_id": 1, "timestamp": day.format(d, 9), "article_id": 50 + d, "read_time_s": 30.0 * d, "scroll_pct": 1}
        for d in (1, 2)
    ]
    write(tmp_path / "ebnerd_sample" / "clicks.csv.gz", clicks)
    pages = [
        {"user_id": 1, "session_id": 1, "timestamp": day.format(3, h), "inview": "51 52", "clicked": "52"}
        | {"next_read_time_s": "12.0"}
        for h in (9, 11)
    ]
    write(tmp_path / "ebnerd_sample" / "impressions.csv.gz", pages)
    articles = [{"article_id": 50 + d, "published_at": day.format(d, 7)} for d in (1, 2)]
    write(tmp_path / "ebnerd_sample" / "articles.csv.gz", articles)
    paths = {path.name: path for path in write_public_logs(tmp_path, tmp_path / "out")}
    assert set(paths) == {"3bij3", "ebnerd-clicks", "ebnerd-in-view"}

    seen = read_log(paths["3bij3"])
    assert (seen.hours % 24.0).tolist() == [8.0] * 4
    assert seen.position is not None
    assert sorted(seen.position.tolist()) == [-1, -1, 0, 1]
    found = log_facts(seen)
    assert found["gap p50, h"] == 24.0
    assert math.isnan(found["odds once shown 1 times"])  # no ids of articles: nothing was shown twice

    found = log_facts(read_log(paths["ebnerd-clicks"]))
    assert found["read time p50, s"] == pytest.approx(45.0, rel=1e-5)
    assert math.isnan(found["slates per session"])
    # The age of the first day's article is not known, the other is two hours old.
    assert [found[f"share of clicks younger than {h} h"] for h in (1, 3)] == [0.0, 1.0]

    found = log_facts(read_log(paths["ebnerd-in-view"]))
    assert found["read time p50, s"] == pytest.approx(12.0, rel=1e-5)
    assert found["sessions of one slate"] == 1.0
    assert found["sessions of one slate, by number"] == 0.0

    facts_module.main(["--logs", str(paths["3bij3"])])
    assert "| fact | 3bij3 |" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="data: got"):
        public_logs(["--data", str(tmp_path / "out")])


def test_a_log_of_four_columns_is_enough(tmp_path: Path) -> None:
    columns = {"reader_id": [1, 1], "article_id": [5, 5], "time_hours": [1.0, 9.0], "clicked": [True, False]}
    pq.write_table(pa.table(columns), tmp_path / "site.parquet")
    found = log_facts(read_log(tmp_path / "site.parquet"))
    assert found["gap p50, h"] == 8.0
    assert math.isnan(found["read time p50, s"])
    text = table({"site": found})
    assert "| gap p50, h | 8 |" in text
    assert "| read time p50, s | - |" in text
