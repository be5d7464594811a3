"""The study of indexes, at a size that runs in seconds."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from feedgym.experiments.studies.indexes import index as study
from feedgym.experiments.studies.indexes.index import KINDS, SIZES, IndexRun, Size, measure, table, worth


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "SIZES", (Size(live=300, cells=2, seeds=(7, 8)),))
    monkeypatch.setattr(study, "KINDS", ("exact", "ivf:nprobe=2+nlist=12"))
    monkeypatch.setattr(study, "READERS", 120)
    monkeypatch.setattr(study, "DAYS", 0.375)


def made(reward: float, recall: float) -> IndexRun:
    return IndexRun(reward=reward, recall=recall, visits=1000, search_seconds=0.02, refresh_seconds=0.005)


def test_settings_are_as_stated() -> None:
    assert [size.live for size in SIZES] == [1_000, 10_000, 100_000]
    for size in SIZES:
        assert size.seeds == study.SEEDS[: len(size.seeds)]
        assert len(size.seeds) >= 3
        assert size.live / size.cells == 250  # well above a shortlist of 100
    assert KINDS[0] == "exact"
    assert {kind.partition(":")[0] for kind in KINDS} == {"exact", "ivf", "ivf-sq8", "hnsw"}


def test_a_run_measures_its_index() -> None:
    size = study.SIZES[0]
    exact, coarse = (measure(size.kinds[name], size, 7) for name in ("exact", "coarse"))
    assert exact.recall == 1
    assert 0.2 < coarse.recall < 0.99
    assert exact.visits > 100
    assert coarse.refresh_seconds > exact.refresh_seconds > 0  # cells are learned
    assert exact.search_seconds > 0
    assert exact.search_ms == pytest.approx(1e6 * exact.search_seconds / exact.visits)
    again = measure(size.kinds["exact"], size, 7)
    assert (again.reward, again.visits) == (exact.reward, exact.visits)


def test_the_study_resumes_and_draws(tmp_path: Path) -> None:
    text = study.run(tmp_path)
    files = sorted(tmp_path.glob("300-live/*/seed-*.json"))
    assert len(files) == 3 * 2
    assert (tmp_path / "index.png").stat().st_size > 10_000
    for row in ("| 300 | `exact` | 1.000 |", "| 300 | `ivf:nprobe=2+nlist=12` |", "| 300 | `coarse` |"):
        assert row in text
    assert study.run(tmp_path) == text  # CPU times too: nothing was run again
    other = json.loads(files[0].read_text())
    other["settings"]["readers"] = 1
    files[0].write_text(json.dumps(other))
    study.run(tmp_path)
    again = json.loads(files[0].read_text())
    assert again["settings"]["readers"] == study.READERS  # that one was
    assert again["result"]["refresh_seconds"] != other["result"]["refresh_seconds"]  # its CPU time, to the last digit


def test_what_recall_is_worth() -> None:
    runs = {
        "exact": [made(5.0, 1.0), made(6.0, 1.0)],
        "ivf": [made(4.8, 0.9), made(5.6, 0.9)],
        "coarse": [made(4.0, 0.5), made(4.0, 0.5)],
    }
    slope = worth(runs)
    # By hand: lost .1 and .5; (.1 * .2 + .5 * 1) / .26 and (.1 * .4 + .5 * 2) / .26, of which a tenth.
    assert slope.mean == pytest.approx(0.1 * (0.52 + 1.04) / 2 / 0.26)
    assert slope.num_seeds == 2
    perfect = {name: [dataclasses.replace(one, recall=1.0) for one in rows] for name, rows in runs.items()}
    assert math.isnan(worth(perfect).mean)
    row = table({10: runs}).splitlines()[3]
    assert row.startswith("| 10 | `ivf` | 0.900 | 20.0 | 5.0 | 5.200 | -0.300 [")
