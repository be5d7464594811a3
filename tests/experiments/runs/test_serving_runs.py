"""Runs in each mode: what the log says of slates drawn ahead, cost in the curves, resumed and through either face."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.ope.logged import LoggedSlates
from feedgym.agents.registry.plans import parse_agent
from feedgym.env import read_impressions
from feedgym.env.log.reader import LogReader
from feedgym.experiments import train
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.checkpoint import CHECKPOINT
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.runner import load_run
from helpers.inside import replay_of

AGENTS = {
    "realtime": "regression-click:max_steps=3",
    "streaming": "regression-click:max_steps=3,serving=streaming,item_refresh_hours=2,reader_refresh_hours=3",
    "batch": "regression-click:max_steps=3,serving=batch,epsilon=0.2",
    "batch, lagging": "reinforce:max_steps=2,serving=batch,reader_refresh_hours=12,feature_lag_hours=3",
    "batch, rules": "regression-click:max_steps=3,serving=batch,rules=cap(topic,2)",
}
EVERY = {"batch": 24.0, "batch, lagging": 12.0, "batch, rules": 24.0}
COUNTS = ("reader_embeddings", "item_embeddings", "index_writes", "queries", "slates", "expired")
RUN: dict[str, Any] = {
    "readers": 80,
    "days": 3.0,
    "tick_hours": 1.0,
    "articles_per_day": 80.0,
    "slate_size": 5,
    "log_marginals": True,
}


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class StopError(Exception):
    pass


def stop_after(progress: Progress) -> None:
    if progress.day >= 2.0:
        raise StopError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def run(mode: str) -> Path:
        if mode not in made:
            made[mode] = tmp_path_factory.mktemp("run")
            train.run(RunConfig(agent=AGENTS[mode], **RUN), made[mode])
        return made[mode]

    return run


def columns_of(folder: Path) -> dict[str, np.ndarray]:
    """The log, (n, K) and (n,) by column, in order of time."""
    table = read_impressions(folder / "impressions")
    columns = {}
    for name in set(table.column_names) - {"run_id", "policy", "device"}:
        values = table.column(name).to_numpy().reshape(-1, RUN["slate_size"])
        varies = ("position", "article_id", "in_shortlist", "logit", "slot_", "inclusion", "clicked", "dwell", "reward")
        columns[name] = values if name.startswith(varies) and name != "inclusion_time" else values[:, 0]
    return columns


@pytest.mark.parametrize("mode", AGENTS)
def test_the_log_has_the_chances_of_the_draw(mode: str, folder: Callable[[str], Path]) -> None:
    log = columns_of(folder(mode))
    articles = pq.read_table(folder(mode) / "articles.parquet")
    published, expires = (articles.column(name).to_numpy() for name in ("published_hours", "expires_hours"))
    time, made, ids = log["time_hours"], log["slate_made_hours"], log["article_id"]
    every = EVERY.get(mode)
    np.testing.assert_array_equal(made, time if every is None else time // every * every)
    live = [int(((published <= hours) & (hours < expires)).sum()) for hours in made]
    np.testing.assert_array_equal(log["num_live"], live)
    there = (published[ids] <= made[:, None]) & (made[:, None] < expires[ids])
    assert there[ids >= 0].all()  # of the draw
    np.testing.assert_allclose(np.log(log["slot_propensity"]).sum(axis=1), log["log_propensity"], atol=1e-6)
    greedy = log["greedy"].astype(bool)
    assert (log["log_propensity"][greedy] == 0).all()
    assert (log["log_propensity"][~greedy] < 0).all()
    assert greedy.any() == (every is not None)
    assert not greedy.all()
    gone = (time[:, None] >= expires[ids]) & (ids >= 0)
    assert not log["clicked"][gone].any()
    assert not log["reward"][gone].any()
    assert gone.any() == (every is not None)
    assert log["clicked"].any()
    if mode == "batch, rules":
        # Unknown where a cap has shaped what was drawn.
        assert np.isnan(log["inclusion"][~greedy].astype(float)).all()
    else:
        assert np.isfinite(log["inclusion"][~greedy].astype(float)).all()
        assert (log["inclusion"][~greedy] >= log["slot_marginal"][~greedy] - 1e-6).all()
    assert (log["inclusion"][greedy].astype(float) == 1).all()


@pytest.mark.parametrize("mode", EVERY)
def test_a_repeated_visit_has_the_slate_id_of_the_first_and_all_that_goes_with_it(
    mode: str, folder: Callable[[str], Path]
) -> None:
    log = columns_of(folder(mode))
    first: dict[tuple[int, float], int] = {}
    repeated = 0
    same = ("article_id", "slot_propensity", "logit", "slot_marginal", "inclusion", "num_live", "epsilon", "greedy")
    for i in range(len(log["time_hours"])):
        j = first.setdefault((int(log["reader_id"][i]), float(log["slate_made_hours"][i])), i)
        assert log["slate_id"][i] == log["visit_id"][j]
        if i == j:
            continue
        repeated += 1
        for name in (*same, "log_propensity", "inclusion_time", "shortlist_size", "policy_version"):
            np.testing.assert_array_equal(log[name][i], log[name][j], err_msg=name)
    assert repeated > 20
    assert len(set(log["slate_id"].tolist())) == len(first)
    summary = LogReader(folder(mode) / "impressions").summary
    assert summary.num_ahead == int((log["slate_made_hours"] < log["time_hours"]).sum()) > 100
    assert summary.num_greedy == int(log["greedy"].sum())
    slates = LoggedSlates(
        article_id=log["article_id"].astype(np.int64),
        slot_propensity=log["slot_propensity"].astype(float),
        reward=log["reward"].astype(float),
        reader_id=log["reader_id"],
        slate_id=log["slate_id"],
    )
    kept = np.zeros(len(log["time_hours"]), dtype=bool)
    kept[list(first.values())] = True
    np.testing.assert_array_equal(slates.first_visits(), np.flatnonzero(kept))


@pytest.mark.parametrize("mode", ["streaming", "batch", "batch, lagging"])
def test_a_run_that_was_stopped_ends_with_the_bytes_of_one_that_was_not(
    mode: str, folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)
    config = RunConfig(agent=AGENTS[mode], **RUN)
    with pytest.raises(StopError):
        train.run(config, tmp_path, report=stop_after)
    assert (tmp_path / CHECKPOINT).exists()
    train.run(config, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(folder(mode))


@pytest.mark.parametrize("mode", ["streaming", "batch"])
def test_the_vector_face_gives_the_same_bytes(mode: str, folder: Callable[[str], Path], tmp_path: Path) -> None:
    train.run(RunConfig(agent=AGENTS[mode], **RUN, face="vector"), tmp_path)
    assert bytes_of(tmp_path) == bytes_of(folder(mode))


def test_cost_is_in_the_curves_and_lower_for_slates_drawn_ahead(tmp_path: Path) -> None:
    found: dict[str, dict[str, float]] = {}
    for mode in ("realtime", "streaming", "batch"):
        running = runner._Runner(RunConfig(agent=AGENTS[mode], **RUN), tmp_path / mode, None, None)
        running.run()
        found[mode] = running._points[-1][1]  # of the last day
    cost = {name: {m: v[f"serving/{name}_per_1000_visits"] for m, v in found.items()} for name in COUNTS}
    assert cost["queries"]["realtime"] == cost["queries"]["streaming"] == 1000.0
    assert cost["reader_embeddings"]["realtime"] == 1000.0 > cost["reader_embeddings"]["streaming"]
    assert cost["item_embeddings"]["realtime"] > 1.5 * cost["item_embeddings"]["batch"]  # four trainings for one
    assert cost["expired"]["batch"] > 0
    assert cost["expired"]["realtime"] == cost["expired"]["streaming"] == 0
    assert all(values["batch"] > 0 for values in cost.values())


@pytest.mark.parametrize("mode", ["streaming", "batch"])
def test_evaluation_and_editors_view_work_in_every_mode(mode: str, folder: Callable[[str], Path]) -> None:
    run = load_run(folder(mode))
    assert run.evaluation is not None
    assert 0 < run.evaluation["ranking"]["recall_at_100"] <= 1
    assert sum(row["impressions"] for row in run.evaluation["reliability"]) > 50
    done = json.loads((folder(mode) / "done.json").read_text())
    assert (done["invalid_entries"] > 0) == (mode == "batch")
    assert done["editor"]["values"]


@pytest.mark.parametrize("served", ["realtime", "batch"])
@pytest.mark.parametrize("mode", ["streaming", "batch, lagging"])
def test_an_agent_in_any_mode_learns_from_a_log_of_any(served: str, mode: str, folder: Callable[[str], Path]) -> None:
    site: Any = LoggedSite(folder(served) / "impressions")
    agent: Any = parse_agent(AGENTS[mode]).start(site)
    learn_from_log(agent, site)
    assert agent.policy_version >= 3
    log = columns_of(folder(served))
    assert agent.serving.cost.visits == len(log["time_hours"])
    assert replay_of(agent).total == len(log["time_hours"])
    # What had expired when it was shown is nobody's impression.
    articles = pq.read_table(folder(served) / "articles.parquet")
    expires = articles.column("expires_hours").to_numpy()
    gone = (log["time_hours"][:, None] >= expires[log["article_id"]]) & (log["article_id"] >= 0)
    kept = replay_of(agent).column("article_id")
    assert (kept < 0).sum() == ((log["article_id"] < 0) | gone).sum()
    assert all(np.isfinite(value) for value in agent.metrics().values())
