"""What one run is: checks, and folders that a restart finds and other settings do not."""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from feedgym.env.config import RewardConfig
from feedgym.experiments.commands.log import LogConfig
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.runs.run_config import RunConfig, WorldConfig, load_reader_model
from feedgym.experiments.train import TrainConfig

OWN_READERS = "from feedgym.env.readers.news_reader import NewsReader\n\n\nclass Own(NewsReader):\n    pass\n"


def folder(**settings: Any) -> str:
    return RunConfig(**settings).folder_name()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"agent": "recnt"}, "agent: got 'recnt', needs one of random, recent"),
        ({"agent": "recent:scale=3"}, "setting of recent: got 'scale', needs one of scale_hours"),
        ({"world": "mars"}, "world: got 'mars', needs one of vivid"),
        ({"seed": -1}, "seed: got -1"),
        ({"readers": 0}, "num_readers: got 0"),
        ({"days": 0.0}, "days: got 0.0"),
        ({"tick_hours": 0.7}, "tick_hours: got 0.7, needs a divisor of 24"),
        ({"face": "back"}, "face: got 'back'"),
        ({"log": False, "log_marginals": True}, "log_marginals: got True, needs False without a log"),
        ({"articles": Path("a.csv"), "articles_per_day": 3.0}, "articles_per_day: got 3.0, needs not given together"),
    ],
)
def test_a_bad_setting_is_named_with_the_value_seen_and_what_is_allowed(settings: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunConfig(**settings)


def test_every_setting_that_changes_bytes_changes_the_folder(tmp_path: Path) -> None:
    articles = tmp_path / "a.csv"
    articles.write_text("article_id,published_at\n1,2023-02-02T07:00:31\n")
    others: dict[str, Any] = {
        "agent": "recent",
        "readers": 3,
        "newcomers_per_day": 0.5,
        "days": 1.0,
        "slate_size": 5,
        "tick_hours": 1.0,
        "articles_per_day": 7.0,
        "reward": RewardConfig(click=1.0),
        "articles": articles,
        "modules": True,
        "evaluate_visits": 0,
        "log": False,
        "log_marginals": True,
        "organic_share": 0.2,
        "organic_reward": 0.5,
    }
    # A world and a reader model of one's own are the two others; face gives the same bytes.
    known = {f.name for f in dataclasses.fields(RunConfig)}
    assert known == {*others, "seed", "world", "reader_model", "face"}
    names = {folder(), *(folder(**{name: value}) for name, value in others.items())}
    assert len(names) == 1 + len(others)


def test_a_folder_is_of_agent_settings_and_seed() -> None:
    name, seed = folder(agent="regression:sharpness=2.0,target=click", seed=7).split("/")
    assert seed == "seed-7"
    assert name.startswith("regression_sharpness=2.0_target=click-")
    assert folder(agent="regression:target=click,sharpness=2.0", seed=8) == f"{name}/seed-8"
    # A setting at its default is no setting.
    assert folder(agent="recent:epsilon=0.05") == folder(agent="recent")
    assert folder(face="vector") == folder()


def test_the_content_of_the_articles_file_counts_not_its_place(tmp_path: Path) -> None:
    rows = "article_id,published_at\n1,2023-02-02T07:00:31\n"
    (tmp_path / "here").mkdir()
    for path in (tmp_path / "a.csv", tmp_path / "here" / "a.csv"):
        path.write_text(rows)
    first = folder(articles=tmp_path / "a.csv")
    assert folder(articles=tmp_path / "here" / "a.csv") == first
    (tmp_path / "a.csv").write_text(rows + "2,2023-02-02T08:00:31\n")
    assert folder(articles=tmp_path / "a.csv") != first


def test_the_source_of_a_reader_model_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "readers_of_a_test.py"
    module.write_text(OWN_READERS)
    first = RunConfig(reader_model="readers_of_a_test:Own").code()
    assert RunConfig(reader_model="readers_of_a_test:Own").code() == first
    assert first.keys() - RunConfig().code().keys() == {"readers_of_a_test"}
    assert folder(reader_model="readers_of_a_test:Own") != folder()
    module.write_text(OWN_READERS.replace("pass", "calm = True"))
    del sys.modules["readers_of_a_test"]
    importlib.invalidate_caches()
    assert RunConfig(reader_model="readers_of_a_test:Own").code() != first
    del sys.modules["readers_of_a_test"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Own", "reader_model: got 'Own', needs module:Class"),
        ("no_such_module_here:Own", "got 'no_such_module_here:Own', needs an importable module"),
        ("json:Own", "needs a class of json, which has no Own"),
        ("json:JSONDecoder", "needs a method spawn"),
    ],
)
def test_a_wrong_reader_model_is_explained(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_reader_model(name)


def test_an_import_error_inside_a_users_module_stays_what_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "readers_that_need.py").write_text("import no_such_module_here\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        load_reader_model("readers_that_need:Own")


def test_the_horizon_is_the_files_unless_given(tmp_path: Path) -> None:
    articles = tmp_path / "a.csv"
    articles.write_text("article_id,published_at\n1,2023-02-02T07:00:31\n2,2023-02-04T01:00:31\n")
    assert WorldConfig().horizon_days == 14.0
    assert WorldConfig(days=2.5, articles=articles).horizon_days == 2.5
    # 42 hours from the first to the last.
    assert WorldConfig(articles=articles).horizon_days == 2.0


def test_a_run_of_a_world_has_all_of_it_and_its_horizon() -> None:
    world = WorldConfig(readers=7, tick_hours=0.5, slate_size=3, log=False)
    run = world.run_of("recent", 4)
    assert run == RunConfig(agent="recent", seed=4, readers=7, tick_hours=0.5, slate_size=3, log=False, days=14.0)
    assert run.settings()["days"] == RunConfig(agent="recent").settings()["days"] == 14.0
    assert run.feed_config().days == 14.0


def test_the_commands_add_their_own_to_one_world() -> None:
    # What a world is stands once: a setting added there is one of compare, train and log at once.
    shared = {f.name for f in dataclasses.fields(WorldConfig)}
    for config, own in (
        (CompareConfig, {"agents", "seeds", "out", "workers", "reuse"}),
        (TrainConfig, {"agent", "seed", "face", "out", "reuse"}),
        (LogConfig, {"agent", "seed", "face", "out", "epsilon", "allow_unsupported", "reuse"}),
    ):
        names = {f.name for f in dataclasses.fields(config)}
        assert shared <= names
        assert names - shared <= own
    log = LogConfig(readers=7, days=2, epsilon=0.2)
    assert log.run_config() == RunConfig(
        agent="popular:epsilon=0.2", readers=7, days=2, evaluate_visits=0, log_marginals=True
    )
    assert TrainConfig(readers=7).run_config() == RunConfig(readers=7, days=14.0)
