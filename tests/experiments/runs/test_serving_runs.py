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
COST = ("reader_embeddings", "item_embeddings", "index_writes", "queries", "slates", "age_minutes", "expired", "empty")
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
        varies = (
            "position",
            "list_",
            "article_id",
            "in_shortlist",
            "logit",
            "slot_",
            "inclusion",
            "clicked",
            "dwell",
            "reward",
        )
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
    # Live at the draw, and of lists those of them that still are: less what stands above, on further pages.
    ruled, further = mode == "batch, rules", log["visit_id"] != log["slate_id"]
    until = made if ruled else time
    live = np.array([((published <= a) & (b < expires)).sum() for a, b in zip(made, until, strict=True)])
    np.testing.assert_array_equal(log["num_live"][~further], live[~further])
    assert further.any() == (every is not None)
    visits, lists = log["visit_id"], log["slate_id"]
    above = [ids[(lists == lists[i]) & (visits < visits[i])] for i in range(len(visits))]
    stand = np.array([(time[i] < expires[a[a >= 0]]).any() for i, a in enumerate(above)])  # what has expired stands not
    assert ((log["num_live"] < live) == (further & stand & ~ruled)).all()
    there = (published[ids] <= made[:, None]) & (until[:, None] < expires[ids])
    assert there[ids >= 0].all()
    np.testing.assert_allclose(np.log(log["slot_propensity"]).sum(axis=1), log["log_propensity"], atol=1e-6)
    greedy = log["greedy"].astype(bool)
    assert (log["log_propensity"][greedy] == 0).all()
    shown = (ids >= 0).any(axis=1)
    assert (log["log_propensity"][~greedy & shown] < 0).all()
    assert greedy.any() == (every is not None)
    assert not greedy.all()
    gone = (time[:, None] >= expires[ids]) & (ids >= 0)
    assert not log["clicked"][gone].any()
    assert not log["reward"][gone].any()
    # A page is filled from below, but under a cap.
    assert gone.any() == ruled
    assert log["clicked"].any()
    full = ~greedy & (ids >= 0).all(axis=1)
    if ruled:
        # Unknown where a cap has shaped what was drawn.
        assert np.isnan(log["inclusion"][full].astype(float)).all()
    else:
        assert np.isfinite(log["inclusion"][full & ~further].astype(float)).all()
        assert (log["inclusion"][full & ~further] >= log["slot_marginal"][full & ~further] - 1e-6).all()
        assert np.isnan(log["inclusion"][full & further].astype(float)).all()
    assert (log["inclusion"][greedy].astype(float) == 1).all()


@pytest.mark.parametrize("mode", EVERY)
def test_all_pages_of_a_list_have_the_slate_id_of_its_first_visit(mode: str, folder: Callable[[str], Path]) -> None:
    log = columns_of(folder(mode))
    first: dict[tuple[int, float], int] = {}
    shown: dict[int, list[int]] = {}
    repeated = 0
    for i in range(len(log["time_hours"])):
        j = first.setdefault((int(log["reader_id"][i]), float(log["slate_made_hours"][i])), i)
        assert log["slate_id"][i] == log["visit_id"][j]
        shown.setdefault(j, []).extend(a for a in log["article_id"][i].tolist() if a >= 0)
        repeated += i != j
        for name in ("greedy", "policy_version"):
            np.testing.assert_array_equal(log[name][i], log[name][j], err_msg=name)
    assert repeated > 20
    # No article stands on two pages of a list.
    assert all(len(set(ids)) == len(ids) for ids in shown.values())
    assert max(len(ids) for ids in shown.values()) >= 15
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


def test_cost_is_in_the_curves_and_lower_for_lists_drawn_ahead(tmp_path: Path) -> None:
    found: dict[str, dict[str, float]] = {}
    for mode in ("realtime", "streaming", "batch"):
        running = runner._Runner(RunConfig(agent=AGENTS[mode], **RUN), tmp_path / mode, None, None)
        running.run()
        found[mode] = running._points[-1][1]  # of the last day
    cost = {name: {m: v[f"serving/{name}_per_1000_visits"] for m, v in found.items()} for name in COST}
    assert cost["queries"]["realtime"] == cost["queries"]["streaming"] == 1000.0
    assert cost["reader_embeddings"]["realtime"] == 1000.0 > cost["reader_embeddings"]["streaming"]
    assert cost["item_embeddings"]["realtime"] > 1.5 * cost["item_embeddings"]["batch"]  # four trainings for one
    assert cost["expired"]["batch"] > 0
    for name in ("age_minutes", "expired", "empty"):
        assert cost[name]["realtime"] == cost[name]["streaming"] == 0
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
    np.testing.assert_array_equal(replay_of(agent).column("article_id"), log["article_id"])
    assert all(np.isfinite(value) for value in agent.metrics().values())
