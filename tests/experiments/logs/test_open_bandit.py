"""The Open Bandit Dataset: as logs of a site, and each policy's estimates against what the other one earned."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from feedgym.agents.logged.site import LoggedSite
from feedgym.env.log.reader import LogReader
from feedgym.experiments import offline
from feedgym.experiments.logs.open_bandit_check import (
    OpenBanditConfig,
    check,
    check_markdown,
    crossed_rates,
    main,
    mean_policy,
    run,
)
from feedgym.experiments.logs.open_bandit_log import COLUMNS, OpenBandit, read_open_bandit, write_site_log
from feedgym.experiments.offline import OfflineConfig

DATA = Path("../shared/data/open_bandit")
needs_data = pytest.mark.skipif(not DATA.exists(), reason="no open_bandit beside the repository")


def a_week(n: int, chances: Any, seed: int = 0) -> OpenBandit:
    """Items drawn by ``chances`` (A,), at random places; item 2 is clicked half of the time, others a tenth."""
    rng = np.random.default_rng(seed)
    item = rng.choice(len(chances), n, p=chances)
    return OpenBandit(
        hours=np.sort(rng.uniform(0, 168, n)),
        item=item,
        place=rng.integers(0, 3, n),
        clicked=rng.random(n) < np.where(item == 2, 0.5, 0.1),
        chance=np.asarray(chances)[item],
        reader=rng.integers(0, 90, n),
    )


UNIFORM, PEAKED = [0.25] * 4, [0.1, 0.1, 0.7, 0.1]


def write_csv(path: Path, rows: OpenBandit, **changes: Any) -> Path:
    times = np.datetime64("2019-11-24") + (rows.hours * 3.6e9).astype("timedelta64[us]")
    columns = {
        "timestamp": times.astype(str),
        "item_id": rows.item,
        "position": rows.place + 1,
        "click": rows.clicked.astype(np.int64),
        "propensity_score": rows.chance,
        **{f"user_feature_{k}": rows.reader if k == 0 else np.zeros_like(rows.reader) for k in range(4)},
    }
    # Not in order of time.
    order = np.random.default_rng(1).permutation(len(times))
    table = pa.table({name: np.asarray(values)[order] for name, values in (columns | changes).items()})
    csv.write_csv(table, path)
    return path


def test_a_file_is_read_in_order_of_time(tmp_path: Path) -> None:
    rows = a_week(300, PEAKED)
    found = read_open_bandit(write_csv(tmp_path / "a.csv", rows))
    np.testing.assert_allclose(found.hours, rows.hours, atol=1e-6)
    for name in ("item", "place", "clicked", "chance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(rows, name))
    assert len(np.unique(found.reader)) == len(np.unique(rows.reader))
    assert found.num_items == 4


def test_what_no_log_has_is_refused(tmp_path: Path) -> None:
    rows = a_week(30, PEAKED)
    with pytest.raises(ValueError, match="propensity_score: got"):
        read_open_bandit(write_csv(tmp_path / "a.csv", rows, propensity_score=np.zeros(30)))
    with pytest.raises(ValueError, match=r"position: got .*needs 1, 2 or 3"):
        read_open_bandit(write_csv(tmp_path / "a.csv", rows, position=np.full(30, 4)))
    csv.write_csv(pa.table({"timestamp": ["2019-11-24"]}), tmp_path / "b.csv")
    with pytest.raises(ValueError, match=r"columns: got \['timestamp'\], needs also"):
        read_open_bandit(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError, match="needs a CSV file of the Open Bandit Dataset"):
        read_open_bandit(tmp_path / "nowhere.csv")
    assert set(COLUMNS) == set(csv.read_csv(tmp_path / "a.csv").column_names)


def test_rows_are_visits_of_one_article(tmp_path: Path) -> None:
    for chances, explored in ((PEAKED, False), (UNIFORM, True)):
        rows = a_week(200, chances)
        folder = tmp_path / str(explored)
        write_site_log(rows, folder)
        summary = LogReader(folder).summary
        assert (summary.num_rows, summary.num_visits, summary.slate_size) == (200, 200, 1)
        assert (summary.num_unknown, summary.why_unsupported) == (0, None)
        # Of a uniform policy all is exploration; of another one nobody says.
        assert ("epsilon" in summary.incomplete) == (not explored)
        site = LoggedSite(folder)
        assert site.summary.device_names == tuple(dict.fromkeys(["left", "middle", "right"][p] for p in rows.place))
        seen = 0
        while not site.done:
            seen += len(site.visits)
            np.testing.assert_array_equal(site.logged.slot_propensity, site.logged.slot_marginal)
            site.advance()
        assert seen == 200


def test_each_policy_is_known_from_the_other_ones_log() -> None:
    uniform, peaked = a_week(6000, UNIFORM, 1), a_week(6000, PEAKED, 2)
    for target, logger, name in ((uniform, peaked, "random"), (peaked, uniform, "bts")):
        found = check("toy", name, target, "other", logger)
        assert found.truth == target.clicked.mean()
        assert abs(found.truth - found.logged) > 0.1
        for estimator, estimate, error in found.rows:
            off = abs(estimate.value - found.truth) / np.hypot(error, found.truth_error)
            # The model is drawn towards the mean of what was logged, and alone has no way to know.
            assert off > 10 if estimator == "dm" else off < 4, estimator
    # Propensities that are not true are seen.
    wrong = dataclasses.replace(peaked, chance=np.full(6000, 0.25))
    rows = {name: estimate for name, estimate, _ in check("toy", "random", uniform, "bts", wrong).rows}
    assert abs(rows["ips"].value - uniform.clicked.mean()) > 0.1


def test_the_mean_policy_and_the_crossed_model() -> None:
    rows = a_week(4000, PEAKED)
    share = mean_policy(rows)
    np.testing.assert_allclose(share.sum(axis=1), 1.0)
    np.testing.assert_allclose(share, np.tile(PEAKED, (3, 1)), atol=0.05)
    rates = crossed_rates(rows)
    assert rates.shape == (4000, 4)
    # A half's clicks do not move its own rates.
    early = rows.hours < np.median(rows.hours)
    other = crossed_rates(dataclasses.replace(rows, clicked=np.where(early, True, rows.clicked)))
    np.testing.assert_array_equal(other[early], rates[early])
    assert (other[~early] > rates[~early]).all()


@needs_data
def test_published_logs_agree_with_each_other(tmp_path: Path) -> None:
    checks = run(OpenBanditConfig(data=DATA, out=tmp_path))
    assert [(c.campaign, c.target) for c in checks] == [(c, t) for c in ("all", "men") for t in ("random", "bts")]
    for c in checks:
        for name, estimate, error in c.rows:
            if name in ("ips", "snips", "dr", "sndr"):
                assert abs(estimate.value - c.truth) < 3 * np.hypot(error, c.truth_error), (c, name)
                assert 0.9 < estimate.mean_weight < 1.1
    # The model alone knows neither policy: of one campaign it misses by far.
    dm = {
        (c.campaign, c.target): (e.value - c.truth) / np.hypot(s, c.truth_error)
        for c in checks
        for n, e, s in c.rows
        if n == "dm"
    }
    assert dm["men", "random"] > 3.0
    text = check_markdown(checks)
    assert (tmp_path / "table.md").read_text() == text
    assert "**men: uniform, from the log of Thompson sampling** (on its own log 4.60 +- " in text


@needs_data
def test_feedgym_offline_on_a_published_log(tmp_path: Path) -> None:
    whole = read_open_bandit(DATA / "random_men.csv.gz")
    # Rows of which the day kept back has half; of the first 3,000 it has 70, whose mean weight is anything near 1.
    some = {f.name: getattr(whole, f.name)[4000:7000] for f in dataclasses.fields(whole)}
    write_site_log(OpenBandit(**some), tmp_path / "log")
    config = OfflineConfig(
        log=tmp_path / "log",
        agent="regression-click:max_steps=5,train_every_hours=12.0,sharpness=0.5",
        reward_model="regression-click:max_steps=5,train_every_hours=12.0",
        tick_hours=1.0,
        estimate_days=1.0,
        out=tmp_path / "out",
    )
    result = offline.run(config)
    assert (result.num_visits, result.propensities, result.why_unsupported) == (3000, "logged", None)
    rows = {row["estimator"]: row for row in result.estimates}
    # Slates of one article: estimators of slates are one and the same.
    assert rows["sniips"]["value"] == pytest.approx(rows["snrips"]["value"], rel=1e-6)
    # Weights have mean 1, whatever the target: within three standard errors of theirs, which their effective sample
    # size says, sum(w)^2 / sum(w^2). The direct method weighs nothing: its sample is all visits.
    mean, size, visits = (
        float(rows[estimator][name])
        for estimator, name in (
            ("sniips", "mean_weight"),
            ("sniips", "effective_sample_size"),
            ("dm", "effective_sample_size"),
        )
    )
    error = mean * np.sqrt((visits / size - 1.0) / visits)
    assert error < 0.025  # weights of another policy or place would be seen
    assert abs(mean - 1.0) < 3.0 * error
    assert result.logged_visit_reward == pytest.approx(0.0046, abs=0.0046)
    assert (tmp_path / "out" / offline.PICTURE).exists()


@needs_data
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--data", str(DATA), "--out", str(tmp_path)])
    text = capsys.readouterr().out
    assert "| sndr |" in text
    assert LogReader(tmp_path / "bts_men").summary.num_visits == 10_000
    with pytest.raises(SystemExit, match="feedgym open-bandit: path: got "):
        main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path)])
