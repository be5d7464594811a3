"""None"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feedgym.env import Feed, NewsReader, read_impressions, write_impressions
from feedgym.env.feed.visits import visit_ids
from feedgym.env.log.columns import COLUMNS, log_schema
from feedgym.env.log.files import config_of
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.env.worlds import WORLDS
from helpers.logs.small import CONFIG, SETTINGS, Tick, logged, rows, simulate

DESIGN = (
    "run_id, policy, policy_version, time_hours, slate_made_hours, tick, visit_id, reader_id, visit, session, "
    "slate_id, position, article_id, list_position, num_skipped_expired, num_skipped_excluded, shortlist_size, "
    "num_live, epsilon, temperature, greedy, explored, "
    "in_shortlist, logit, log_normaliser, "
    "slot_propensity, slot_marginal, inclusion, inclusion_time, log_propensity, clicked, dwell_minutes, subscribed, "
    "reward, hours_to_next_visit, terminated, truncated, device"
)


def test_the_columns_are_those_of_the_design() -> None:
    assert [c.name for c in COLUMNS] == DESIGN.split(", ")
    kinds = {field.name: str(field.type) for field in log_schema()}
    for name in ("slot_propensity", "slot_marginal", "inclusion", "log_propensity"):
        assert kinds[name] == "double"
    assert kinds["logit"] == kinds["dwell_minutes"] == "float"


def test_the_docs_page_says_the_same() -> None:
    page = (Path(__file__).parents[3] / "docs" / "guide" / "log.md").read_text()
    lines = [line.split("|")[1:4] for line in page.splitlines() if line.startswith("| `")]
    named = [(cells[0].strip().strip("`"), cells[1].strip()) for cells in lines]
    log = [(c.name, c.type + (", null" if c.nullable else "")) for c in COLUMNS]
    assert named[: len(log)] == log


def test_a_run_is_logged_exactly(tmp_path: Path) -> None:
    ticks, _ = logged(tmp_path / "log")
    table = read_impressions(tmp_path / "log")
    assert table.column_names == DESIGN.split(", ")
    k = CONFIG.slate_size

    def joined(pick: Callable[[Tick], Any]) -> np.ndarray[Any, Any]:
        """A value per impression: (n,) repeated, (n, K) as it is."""
        parts = [np.asarray(pick(tick)) for tick in ticks]
        return np.concatenate([np.repeat(p, k) if p.ndim == 1 else p.reshape(-1) for p in parts])

    assert table.num_rows == sum(len(t[0]) for t in ticks) * k > 500
    expected = {
        "time_hours": joined(lambda t: np.full(len(t[0]), t[0].now)),
        "slate_made_hours": joined(lambda t: np.full(len(t[0]), t[0].now)),
        "tick": joined(lambda t: np.full(len(t[0]), t[0].tick)),
        "reader_id": joined(lambda t: t[0].reader_id),
        "visit": joined(lambda t: t[0].visit),
        "visit_id": joined(lambda t: t[0].reader_id * 2**20 + t[0].visit),
        "slate_id": joined(lambda t: t[0].reader_id * 2**20 + t[0].visit),
        "article_id": joined(lambda t: t[2].article_id),
        "position": joined(lambda t: np.tile(np.arange(k), (len(t[0]), 1))),
        "logit": joined(lambda t: t[2].logit.astype(np.float32)),
        "in_shortlist": joined(lambda t: t[2].in_shortlist),
        "explored": joined(lambda t: t[2].explored),
        "log_normaliser": joined(lambda t: t[2].log_normaliser),
        "slot_propensity": joined(lambda t: t[2].slot_propensity),
        "log_propensity": joined(lambda t: t[2].log_propensity),
        "clicked": joined(lambda t: t[1].clicks),
        "dwell_minutes": joined(lambda t: t[1].dwell_minutes),
        "reward": joined(lambda t: t[1].slot_reward),
        "subscribed": joined(lambda t: t[1].subscribed),
        "terminated": joined(lambda t: t[1].left),
        "shortlist_size": np.full(table.num_rows, 30),
        "epsilon": np.full(table.num_rows, 0.05),
        "temperature": np.full(table.num_rows, 0.5),
        "policy_version": np.full(table.num_rows, 2),
        "greedy": np.zeros(table.num_rows, dtype=bool),
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(table[name].to_numpy(), values, err_msg=name)
    of_lists = ("list_position", "num_skipped_expired", "num_skipped_excluded")
    for name in ("session", "slot_marginal", "inclusion", "inclusion_time", "device", *of_lists):
        assert table[name].null_count == table.num_rows
    assert set(table["run_id"].to_pylist()) == {"run-1"}
    assert set(table["policy"].to_pylist()) == {"random"}
    # What shows nothing is logged as it was served.
    assert (expected["article_id"] == -1).sum() > 20
    assert len(set(zip(table["visit_id"].to_pylist(), table["position"].to_pylist(), strict=True))) == table.num_rows


def test_rewards_of_positions_and_subscriptions_make_the_visits_reward(tmp_path: Path) -> None:
    ticks, _ = logged(tmp_path)
    table = read_impressions(tmp_path)
    k = CONFIG.slate_size
    total = np.concatenate([t[1].reward for t in ticks])
    slots = table["reward"].to_numpy().reshape(-1, k).sum(axis=1)
    subscribed = table["subscribed"].to_numpy().reshape(-1, k)[:, 0]
    assert total.max() > 0
    np.testing.assert_allclose(slots + 3.0 * subscribed, total, rtol=1e-5)


def test_what_lies_beyond_the_horizon_is_not_in_the_log(tmp_path: Path) -> None:
    ticks, feed = logged(tmp_path)
    table = read_impressions(tmp_path)
    first = table.filter(pc.equal(table["position"], 0)).sort_by("time_hours")
    reader, tick = first["reader_id"].to_numpy(), first["tick"].to_numpy()
    hours = first["hours_to_next_visit"].to_numpy()
    ended = first["terminated"].to_numpy(), first["truncated"].to_numpy()
    outcomes = 0
    for r in np.unique(reader):
        mine = np.flatnonzero(reader == r)
        # All but the last visit: the next one comes when the log says.
        np.testing.assert_array_equal(tick[mine[:-1]] + hours[mine[:-1]], tick[mine[1:]])
        assert not ended[0][mine[:-1]].any()
        assert not ended[1][mine[:-1]].any()
        last = mine[-1]
        assert np.isnan(hours[last])
        assert ended[0][last] != ended[1][last]
        assert ended[0][last] == feed.has_left[r]
        outcomes += 1
    assert outcomes > 30
    assert 0 < ended[0].sum() < outcomes  # both ends occur
    assert first["hours_to_next_visit"].null_count == outcomes
    assert len(ticks) == CONFIG.num_ticks


def test_metadata_holds_the_version_and_all_settings(tmp_path: Path) -> None:
    logged(tmp_path)
    table = read_impressions(tmp_path, columns=["reward"])
    assert config_of(table) == json.loads(json.dumps(SETTINGS))
    assert config_of(table)["feed"]["reward"]["subscription"] == 3.0
    assert pq.read_schema(tmp_path / "day-0001.parquet").metadata[b"feedgym_schema_version"] == b"2"


def test_the_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    logged(tmp_path / "a")
    logged(tmp_path / "b")
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["day-0000.parquet", "day-0001.parquet", "day-0002.parquet"]  # and no temporary file
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    read = read_impressions(tmp_path / "a" / names[0])
    write_impressions(tmp_path / "c.parquet", read, config=SETTINGS)
    assert read_impressions(tmp_path / "c.parquet").equals(read, check_metadata=True)


def test_a_part_replaces_what_stood_there_and_a_failed_one_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_impressions(path, rows(), run_id="r", policy="p")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="log_propensity"):
        write_impressions(path, rows() | {"log_propensity": np.zeros(6)}, run_id="r", policy="p")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.parquet"]
    write_impressions(path, rows(2), run_id="r", policy="p")
    assert read_impressions(path).num_rows == 4


def test_optional_columns_are_null_in_ticks_without_them(tmp_path: Path) -> None:
    log = ImpressionLog(CONFIG, run_id="r", policy="p")

    def per_tick(feed: Feed, tick: Tick) -> None:
        n, k = tick[2].article_id.shape
        odd = {
            "inclusion": np.full((n, k), 0.25),
            "inclusion_time": np.full(n, 3.0),
            "session": np.full(n, 7),
            "slate_made_hours": np.full(n, -1.0),
            "slate_id": -1 - np.arange(n),
        }
        log.append(*tick, odd if feed.tick > 20 and tick[0].tick % 2 == 1 else None)

    simulate(per_tick)
    log.flush(tmp_path / "x.parquet")
    assert len(log) == 0
    table = read_impressions(tmp_path / "x.parquet")
    tick = table["tick"].to_numpy()
    odd = (tick >= 20) & (tick % 2 == 1)
    assert (tick < 20).any()
    assert 0 < odd.sum() < len(odd)
    for name, value in (("inclusion", 0.25), ("inclusion_time", 3.0), ("session", 7)):
        np.testing.assert_array_equal(table[name].is_null().to_numpy(), ~odd)
        assert set(table[name].drop_null().to_pylist()) == {value}
    np.testing.assert_array_equal(table["slate_made_hours"].to_numpy() == -1.0, odd)
    np.testing.assert_array_equal(table["slate_id"].to_numpy() == table["visit_id"].to_numpy(), ~odd)
    assert table["slot_marginal"].null_count == len(odd)
    assert log.flush(tmp_path / "empty.parquet") == 0
    assert read_impressions(tmp_path / "empty.parquet").num_rows == 0


def test_devices_and_sessions_are_logged(tmp_path: Path) -> None:
    log, ticks = ImpressionLog(CONFIG, run_id="r", policy="p"), list[Tick]()

    def per_tick(feed: Feed, tick: Tick) -> None:
        log.append(*tick)
        ticks.append(tick)
        if feed.tick % CONFIG.ticks_per_day == 0:
            log.flush(tmp_path / f"day-{feed.tick}.parquet")

    simulate(per_tick, readers=NewsReader(WORLDS["measured"].reader))
    table = read_impressions(tmp_path)
    devices = np.array(["phone", "pc"])
    columns: list[tuple[str, list[Any]]] = [
        ("device", [devices[visits.device] for visits, _, _ in ticks]),
        ("session", [visits.session for visits, _, _ in ticks]),
    ]
    for name, values in columns:
        np.testing.assert_array_equal(table[name].to_numpy(), np.repeat(np.concatenate(values), CONFIG.slate_size))
        assert len(set(table[name].to_pylist())) >= 2
    # Pages of one session: the next tick, and the number goes up by one after a longer gap.
    by_reader = table.filter(pc.equal(table["position"], 0)).sort_by(
        [("reader_id", "ascending"), ("visit", "ascending")]
    )
    reader, tick, session = (by_reader[name].to_numpy() for name in ("reader_id", "tick", "session"))
    same = reader[1:] == reader[:-1]
    inside = same & (session[1:] == session[:-1])
    assert inside.sum() > 50
    assert np.all((tick[1:] - tick[:-1])[inside] == 1)
    assert set((session[1:] - session[:-1])[same & ~inside]) == {1}


def test_slates_that_do_not_fit_are_named() -> None:
    log = ImpressionLog(CONFIG, run_id="r", policy="p")
    first: list[Tick] = []
    simulate(lambda feed, tick: first.append(tick) if len(tick[0]) > 1 else None)
    visits, outcome, slates = first[0]
    with pytest.raises(ValueError, match=r"slates\.article_id: got \(\d+, 4\), needs"):
        log.append(visits, outcome, dataclasses.replace(slates, article_id=slates.article_id[1:]))
    with pytest.raises(ValueError, match=r"optional: got \['mood'\]"):
        log.append(visits, outcome, slates, {"mood": np.zeros(len(visits))})


def test_visit_ids_are_unique_and_bounded() -> None:
    ids = visit_ids(np.array([0, 0, 1, 2]), np.array([0, 2**20 - 1, 0, 1]))
    assert ids.tolist() == [0, 2**20 - 1, 2**20, 2**21 + 1]
    with pytest.raises(ValueError, match="visit: got 1048576"):
        visit_ids(np.array([0]), np.array([2**20]))
    with pytest.raises(ValueError, match="reader_id: got 8796093022208"):
        visit_ids(np.array([2**43]), np.array([0]))


def test_articles_stand_beside_the_log(tmp_path: Path) -> None:
    _, feed = logged(tmp_path)
    archive = feed.catalogue.archive
    assert write_articles(tmp_path / "articles.parquet", archive, config=SETTINGS) == archive.published
    table = pq.read_table(tmp_path / "articles.parquet")
    assert config_of(table) == json.loads(json.dumps(SETTINGS))
    np.testing.assert_array_equal(table["article_id"].to_numpy(), np.arange(archive.published))
    for name in ("published_hours", "expires_hours", "topic", "breaking", "clickbait_proxy"):
        np.testing.assert_array_equal(table[name].to_numpy(), archive.column(name)[: archive.published])
    for name in ("latent_quality", "latent_half_life_hours", "latent_appeal"):
        values = archive.column(name.removeprefix("latent_"))[: archive.published]
        np.testing.assert_array_equal(table[name].to_numpy(), values)
    assert not {"quality", "vector", "appeal"} & set(table.column_names)
    text = np.stack(table["text"].to_numpy())
    np.testing.assert_array_equal(text, archive.column("text")[: archive.published])
    # Not one of the log's parts; and it says which articles were live at any time.
    log = read_impressions(tmp_path)
    shown = log["article_id"].to_numpy()
    now, shown = log["time_hours"].to_numpy()[shown >= 0], shown[shown >= 0]
    assert (table["published_hours"].to_numpy()[shown] <= now).all()
    assert (now < table["expires_hours"].to_numpy()[shown]).all()
