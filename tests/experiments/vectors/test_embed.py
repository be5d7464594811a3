"""Vectors out of a run: they are the towers' own, the tables are whole, TensorBoard opens them, no feature is late."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tensorboard.plugins.projector import projector_plugin

from feedgym.agents.two_tower.vectors import Embedding, Vectors, latest_visits
from feedgym.env.log.files import config_of
from feedgym.env.readers.protocol import Outcome
from feedgym.experiments import train
from feedgym.experiments.runs import runner
from feedgym.experiments.runs.checkpoint import CHECKPOINT, load_arrays
from feedgym.experiments.runs.drive import make_drive
from feedgym.experiments.runs.embeddings import EMBEDDINGS, embeddings_of
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.vectors import embed
from feedgym.experiments.vectors.embed import EmbedConfig
from feedgym.experiments.vectors.exports import run_config_of
from feedgym.experiments.vectors.projector import CONFIG_NAME, write_projector
from helpers.inside import acted_of

ARTICLE = ["article_id", "published_hours", "topic", "publisher", "is_live", "bias", "vector"]
READER = ["reader_id", "visits", "clicks", "last_visit_hours", "vector"]
"""What a site can see, and nothing latent."""
AGENT = "regression-click:content_channel=False,wide_part=False,widths=(8,)"  # as labels are sorted
SMALL: dict[str, Any] = {"agent": AGENT, "readers": 60, "days": 3.0, "tick_hours": 1.0}


def finished(out: Path, **settings: Any) -> Path:
    config = RunConfig(**{**SMALL, **settings})
    folder = out / "runs" / config.folder_name()
    train.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("embed"))


def lived(config: RunConfig) -> tuple[Any, Any, dict[int, dict[str, Any]]]:
    """Feed and agent at the end of the run, and each reader's last visit as it was."""
    drive = make_drive(config)
    agent: Any = config.plan().start(drive.feed)
    last: dict[int, dict[str, Any]] = {}
    while not drive.feed.done:
        visits = drive.visits
        history = visits.history_id.copy()
        served = agent.act(visits, drive.catalogue).article_id
        for i, row in enumerate(visits.rows):
            last[int(row)] = {
                "hours": visits.now,
                "visit": int(visits.visit[i]),
                "history": history[i],
                "columns": acted_of(agent).reader[i],
            }
        outcome = drive.serve(served)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
    return drive.feed, agent, last


# ---- what is kept of a run ----
@pytest.mark.parametrize("agent", [SMALL["agent"], "ltv:content_channel=False,wide_part=False,widths=(8,)"])
def test_what_is_kept_is_what_the_towers_say_at_the_end(tmp_path: Path, agent: str) -> None:
    config = RunConfig(**{**SMALL, "agent": agent})
    feed, living, last = lived(config)
    kept = load_arrays(finished(tmp_path, agent=agent) / EMBEDDINGS)
    rows = kept["reader/reader_id"]
    assert rows.tolist() == sorted(last)
    assert len(rows) > 20
    assert kept["reader/last_visit_hours"].tolist() == [last[r]["hours"] for r in rows]
    assert kept["reader/visits"].tolist() == [last[r]["visit"] + 1 for r in rows]
    history = np.stack([last[r]["history"] for r in rows])
    with torch.no_grad():
        user = living.model.embed_users(
            torch.from_numpy(living.store.vector[np.where(history >= 0, history, 0)]),
            torch.from_numpy(history >= 0),
            torch.from_numpy(np.stack([last[r]["columns"] for r in rows])),
        )
    np.testing.assert_allclose(kept["reader/vector"], user.vector.numpy(), atol=1e-6)
    ids = kept["article/article_id"]
    seen = np.flatnonzero(living.store.vector[: len(living.store)].any(axis=1))
    archive = feed.catalogue.archive
    young = living.store.published_hours[seen] >= kept["reader/last_visit_hours"].max() - 336.0
    assert ids.tolist() == seen[young | archive.is_live[seen]].tolist()
    with torch.no_grad():
        age = torch.zeros(len(rows), len(ids))
        vector, bias = torch.from_numpy(living.store.vector[ids]), torch.from_numpy(living.store.bias[ids])
        whole = living.model.score(user, vector, bias, age).numpy()
        # What age does, and the constant: a reader without vector, articles without bias.
        nobody = user._replace(vector=torch.zeros_like(user.vector))
        rest = living.model.score(nobody, vector, torch.zeros_like(bias), age).numpy()
    mine = kept["reader/vector"] @ kept["article/vector"].T + kept["article/bias"]
    if agent.startswith("ltv"):
        # The second model's bias stands in the vector.
        rest = rest - living.store.vector[ids, 2 * living.model.first.item_dim]
    np.testing.assert_allclose(mine, whole - rest, atol=1e-4)
    assert mine.std() > 1e-3
    assert (kept["article/is_live"] == archive.is_live[ids]).all()
    assert 0 < kept["article/is_live"].sum() < len(ids)
    assert (kept["article/topic"] == archive.column("topic")[ids]).all()
    clicks = [feed.records.click_count[r] for r in rows]
    assert kept["reader/clicks"].tolist() == clicks
    assert sum(clicks) > 10


def test_a_run_that_was_stopped_keeps_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CHECKPOINT_SHARE", 0.0)

    def stop(progress: Progress) -> None:
        if progress.day == 2.0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(RunConfig(**SMALL), tmp_path, report=stop)
    assert (tmp_path / CHECKPOINT).exists()
    assert not (tmp_path / EMBEDDINGS).exists()
    train.run(RunConfig(**SMALL), tmp_path)
    assert (tmp_path / EMBEDDINGS).read_bytes() == (folder / EMBEDDINGS).read_bytes()


def test_looking_changes_nothing() -> None:
    config = RunConfig(**{**SMALL, "days": 1.0})
    feed, agent, _ = lived(config)
    assert isinstance(agent, Embedding)
    looked_at: Any = agent
    before = looked_at.snapshot()
    first, again = embeddings_of(agent, feed), embeddings_of(agent, feed)
    assert all((first[name] == again[name]).all() for name in first)
    after = looked_at.snapshot()
    assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)


def test_a_readers_latest_visit_is_found_in_a_ring_that_has_wrapped() -> None:
    now, row = np.array([9.0, 10.0, 5.0, 6.0, 7.0]), np.array([3, 1, 1, 3, 2])
    columns = {"now": now, "row": row}
    replay: Any = SimpleNamespace(column=columns.__getitem__, take=lambda slots: slots.tolist())
    assert latest_visits(replay) == [1, 4, 0]


def test_articles_beyond_the_agents_memory_are_left_out() -> None:
    config = RunConfig(**{**SMALL, "days": 2.0})
    _, agent, _ = lived(config)
    everything = agent.vectors()
    agent.store.memory_hours = 5.0
    fewer = agent.vectors()
    assert set(agent.store.index.ids) <= set(fewer.article_id)
    old = np.setdiff1d(everything.article_id, fewer.article_id)
    assert len(old) > 0
    assert (agent.store.published_hours[old] < 48.0 - 5.0).all()


# ---- the tables ----
@pytest.mark.parametrize("which", ["all", "live"])
def test_the_tables_hold_what_was_kept(folder: Path, tmp_path: Path, which: Any) -> None:
    written = embed.embed(EmbedConfig(run=folder, out=tmp_path / which, which=which))
    kept = load_arrays(folder / EMBEDDINGS)
    rows = kept["article/is_live"] if which == "live" else np.full(len(kept["article/bias"]), True)
    for path, part, names in ((written.articles, "article", ARTICLE), (written.readers, "reader", READER)):
        table = pq.read_table(path)
        assert config_of(table)["agent"] == AGENT
        assert table.column_names == names
        for name in names:
            values = kept[f"{part}/{name}"][rows if part == "article" else slice(None)]
            assert table[name].to_numpy().tolist() == values.tolist() if values.ndim == 1 else True
        vectors = table["vector"]
        assert str(vectors.type) == f"fixed_size_list<element: float>[{written.dim}]"
        flat = vectors.combine_chunks().flatten().to_numpy().reshape(-1, written.dim)
        assert (flat == kept[f"{part}/vector"][rows if part == "article" else slice(None)]).all()
    assert written.num_articles == rows.sum()


def test_the_command_says_what_it_wrote(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed.main(["--run", str(folder), "--out", str(tmp_path / "v"), "--which", "live"])
    text = capsys.readouterr().out
    assert re.match(r"[\d,]+ articles, [\d,]+ readers, 16 dimensions:\n", text)
    assert f"tensorboard --logdir {tmp_path / 'v' / 'projector'}" in text
    assert pq.read_table(tmp_path / "v" / "articles.parquet")["is_live"].to_numpy().all()


def test_what_cannot_be_embedded_is_explained(folder: Path, tmp_path: Path) -> None:
    def told(run: Path) -> str:
        with pytest.raises(ValueError) as error:
            embed.embed(EmbedConfig(run=run))
        return str(error.value)

    assert told(tmp_path / "none").endswith("needs a folder that exists")
    assert "needs a run's folder" in told(tmp_path)
    assert f"needs one run's folder, such as {folder}" in told(folder.parents[2])
    recent = finished(tmp_path, agent="recent", days=1.0)
    assert not (recent / EMBEDDINGS).exists()
    assert re.search(r"an agent with towers \(.*regression-click.*\); this is one of recent$", told(recent))
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / EMBEDDINGS).unlink()
    assert "this is an older one, to be run again" in told(broken)
    (broken / "done.json").unlink()
    assert "needs a finished run" in told(broken)
    with pytest.raises(ValueError, match="which: got 'some', needs 'all' or 'live'"):
        EmbedConfig(run=folder, which="some")  # type: ignore[arg-type]


def test_the_settings_of_a_folder_are_the_config_again(folder: Path) -> None:
    config = RunConfig(**SMALL)
    assert run_config_of(config.settings()) == config
    with pytest.raises(ValueError, match="a run without a file of articles"):
        run_config_of(config.settings() | {"articles": "site.csv"})


# ---- the projector ----
def plugin(logdir: Path) -> Any:
    """TensorBoard's own, pointed at a folder without runs."""
    provider = SimpleNamespace(list_runs=lambda *_, **__: [])
    found = projector_plugin.ProjectorPlugin(SimpleNamespace(data_provider=provider, logdir=str(logdir)))
    found._update_configs()
    return found


def test_tensorboard_lists_and_reads_both_tensors(folder: Path, tmp_path: Path) -> None:
    written = embed.embed(EmbedConfig(run=folder, out=tmp_path))
    opened = plugin(written.projector)
    (config,) = opened._configs.values()
    shapes = {e.tensor_name: tuple(e.tensor_shape) for e in config.embeddings}
    paths = {e.tensor_name: written.projector / e.tensor_path for e in config.embeddings}
    assert shapes == {"articles": (written.num_articles, 16), "readers": (written.num_readers, 16)}
    kept = load_arrays(folder / EMBEDDINGS)
    for name, part in (("articles", "article"), ("readers", "reader")):
        tensor = projector_plugin._read_tensor_tsv_file(str(paths[name]))
        np.testing.assert_allclose(tensor, kept[f"{part}/vector"], rtol=1e-5, atol=1e-6)
        lines = (written.projector / name / "metadata.tsv").read_text().splitlines()
        # One head line, then a line for each point: else every label would be its neighbour's.
        assert len(lines) == len(tensor) + 1
        ids = [int(line.split("\t")[0]) for line in lines[1:]]
        assert ids == kept[f"{part}/{lines[0].split(chr(9))[0]}"].tolist()


def test_the_projector_gets_the_last_points_and_no_empty_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedgym.experiments.vectors.projector.MOST_POINTS", 2)
    points, ids = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3)
    empty = np.zeros((0, 2), dtype=np.float32)
    none = {"id": ids[:0], "kind": ids[:0]}
    write_projector(tmp_path, {"some": (points, {"id": ids, "kind": ids}), "none": (empty, none)})
    assert (tmp_path / "some" / "tensors.tsv").read_text() == "2\t3\n4\t5\n"
    assert (tmp_path / "some" / "metadata.tsv").read_text() == "id\tkind\n1\t1\n2\t2\n"
    assert "none" not in (tmp_path / CONFIG_NAME).read_text()
    with pytest.raises(ValueError, match=r"columns of some: got \{'id': 3\}, needs two or more columns of 3 rows"):
        write_projector(tmp_path, {"some": (points, {"id": ids})})
    with pytest.raises(ValueError, match="columns of 3 rows"):
        write_projector(tmp_path, {"some": (points, {"id": ids, "kind": ids[:2]})})


def test_the_type_of_vectors_is_a_protocol_anyone_can_fit() -> None:
    class Mine:
        def vectors(self) -> Vectors:
            raise NotImplementedError

    assert isinstance(Mine(), Embedding)
    assert not isinstance(object(), Embedding)
