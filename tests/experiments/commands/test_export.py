"""A log in other people's formats: episodes equal the Gymnasium face, Minari reads them, OBP's sums equal ours."""

import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedgym.agents.ope import iips, ips, rips, sips
from feedgym.env import NewsFeedEnv, RewardConfig, read_impressions
from feedgym.env.arrays import Doubles
from feedgym.experiments.commands import export
from feedgym.experiments.commands.export import ExportConfig, opened, readers_who_left, write_minari
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.logs.episodes import Episode, Steps, episodes_of, steps_of
from feedgym.experiments.logs.open_bandit import open_bandit_feedback
from feedgym.experiments.offline import simulated_run
from feedgym.experiments.runs.drive import make_drive

REWARD = RewardConfig(click=0.5, dwell_minutes=1.0, subscription=3.0)
SETTINGS: dict[str, Any] = {"readers": 30, "days": 3.0, "tick_hours": 1.0, "seed": 10, "reward": REWARD}
# The face's reader is there from hour 0 on: a newcomer's episode is not hers.
SETTINGS |= {"newcomers_per_day": 0.0}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    make_log(LogConfig(**SETTINGS, epsilon=0.3, out=folder))
    return folder


@pytest.fixture(scope="module")
def table(logged: Path) -> pa.Table:
    return read_impressions(logged / "impressions")


@pytest.fixture(scope="module")
def steps(logged: Path) -> Steps:
    return steps_of(opened(logged))


@pytest.fixture(scope="module")
def episodes(logged: Path, steps: Steps) -> list[Episode]:
    return episodes_of(steps, readers_who_left(opened(logged)))


# ---- episodes ----
def lived_again(folder: Path, names: tuple[str, ...], episode: Episode) -> bool:
    """Hold an episode to the Gymnasium face that is served the same slates; whether the reader left."""
    feed = make_drive(simulated_run(opened(folder).log.config)).feed
    env = NewsFeedEnv(episode.reader_id, config=feed.config, reader_model=feed.reader_model, obs="dict")
    seen, info = env.reset(seed=feed.seed)
    assert names == (*env.reader_names, "hour_sin", "hour_cos")
    terminated = False
    for t, action in enumerate(episode.actions):
        assert isinstance(seen, dict)
        np.testing.assert_array_equal(episode.observations[t], np.concatenate([seen["reader"], seen["clock"]]))
        assert episode.infos["time_hours"][t] == info["time_hours"]
        seen, reward, terminated, truncated, info = env.step_slate(action)
        assert episode.rewards[t] == pytest.approx(reward, rel=1e-6)
        assert (episode.terminations[t], episode.truncations[t]) == (terminated, truncated)
        for name in ("clicks", "dwell_minutes", "subscribed"):
            np.testing.assert_array_equal(episode.infos[name][t + 1], info[name])
    assert isinstance(seen, dict)
    assert terminated or truncated
    np.testing.assert_array_equal(episode.observations[-1], np.concatenate([seen["reader"], seen["clock"]]))
    assert episode.infos["time_hours"][-1] == info["time_hours"]
    return terminated


def test_an_episode_is_what_the_gymnasium_face_shows(logged: Path, steps: Steps, episodes: list[Episode]) -> None:
    left = [lived_again(logged, steps.names, episode) for episode in episodes]
    assert 0 < sum(left) < len(left)


def test_so_is_one_in_a_world_with_devices(tmp_path: Path) -> None:
    make_log(LogConfig(**SETTINGS | {"readers": 6, "days": 2.0}, world="measured", out=tmp_path))
    steps = steps_of(opened(tmp_path))
    assert {"device_phone", "device_pc"} < set(steps.names)
    for episode in episodes_of(steps, readers_who_left(opened(tmp_path))):
        lived_again(tmp_path, steps.names, episode)


def test_a_subscription_is_part_of_a_visits_reward(
    logged: Path, table: pa.Table, episodes: list[Episode], tmp_path: Path
) -> None:
    subscribed = table["visit_id"].to_numpy() == table["visit_id"].to_numpy()[0]
    pq.write_table(changed(table, "subscribed", subscribed), tmp_path / "day.parquet")
    (tmp_path / "articles.parquet").write_bytes((logged / "articles.parquet").read_bytes())
    other = episodes_of(steps_of(opened(tmp_path)), np.zeros(0, dtype=np.int64))
    assert not table["subscribed"].to_numpy().any()
    more = np.concatenate([e.rewards for e in other]) - np.concatenate([e.rewards for e in episodes])
    assert sorted(more[more != 0.0].round(9)) == [3.0]


def test_nothing_of_the_log_is_lost(table: pa.Table, episodes: list[Episode]) -> None:
    reader, size = table["reader_id"].to_numpy(), len(episodes[0].actions[0])
    assert [episode.reader_id for episode in episodes] == np.unique(reader).tolist()
    order = np.argsort(reader, kind="stable")
    columns = {"article_id": "actions", "slot_propensity": "slot_propensity", "clicked": "clicks"}
    for name, ours in columns.items():
        parts = [e.actions if ours == "actions" else e.infos[ours][1:] for e in episodes]
        np.testing.assert_array_equal(np.concatenate(parts).ravel(), table[name].to_numpy()[order])
    chance = np.concatenate([e.infos["log_propensity"][1:] for e in episodes])
    np.testing.assert_allclose(chance, table["log_propensity"].to_numpy()[order][::size], rtol=1e-12)
    for e in episodes:
        assert e.infos["slot_propensity"][0].tolist() == [1.0] * size
        assert (e.infos["log_propensity"][0], e.infos["clicks"][0].any()) == (0.0, False)
    assert sum(episode.rewards.sum() for episode in episodes) == pytest.approx(
        table["reward"].to_numpy().sum(dtype=np.float64)
    )


def test_some_readers_only_and_a_site_that_cannot_know_who_left(steps: Steps, episodes: list[Episode]) -> None:
    some = episodes_of(steps, np.zeros(0, dtype=np.int64), 4)
    assert [e.reader_id for e in some] == [e.reader_id for e in episodes[:4]]
    assert all(e.truncations.sum() == 1 and e.truncations[-1] and not e.terminations.any() for e in some)


def test_a_sites_own_log(logged: Path, table: pa.Table, episodes: list[Episode], tmp_path: Path) -> None:
    names = ["reader_id", "time_hours", "article_id", "clicked", "dwell_minutes", "tick"]
    pq.write_table(table.select(names).replace_schema_metadata({}), tmp_path / "day.parquet")
    (tmp_path / "articles.parquet").write_bytes((logged / "articles.parquet").read_bytes())
    site = opened(tmp_path)
    assert readers_who_left(site).tolist() == []
    own = episodes_of(steps_of(site), readers_who_left(site))
    for one, e in zip(own, episodes, strict=True):
        assert one.reader_id == e.reader_id
        np.testing.assert_array_equal(one.actions, e.actions)
        np.testing.assert_allclose(one.rewards, e.infos["dwell_minutes"][1:].sum(axis=1), rtol=1e-6)
        assert np.isnan(one.infos["log_propensity"][1:]).all()
        assert one.truncations[-1]


# ---- Minari ----
def test_minari_reads_what_was_written(
    logged: Path,
    episodes: list[Episode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.delenv("MINARI_DATASETS_PATH", raising=False)
    config = ExportConfig(log=logged, dataset_id="feedgym/test-v0", root=tmp_path)
    export.export(config)
    assert [str(one.message) for one in recwarn] == []
    assert "MINARI_DATASETS_PATH" not in os.environ
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = minari.load_dataset("feedgym/test-v0")
    assert dataset.total_episodes == len(episodes)
    assert dataset.total_steps == sum(len(e.rewards) for e in episodes)
    for found, e in zip(dataset.iterate_episodes(), episodes, strict=True):
        np.testing.assert_array_equal(found.observations, e.observations)
        np.testing.assert_array_equal(found.actions, e.actions)
        np.testing.assert_array_equal(found.rewards, e.rewards)
        np.testing.assert_array_equal(found.terminations, e.terminations)
        np.testing.assert_array_equal(found.truncations, e.truncations)
        np.testing.assert_array_equal(found.infos["slot_propensity"], e.infos["slot_propensity"])
        assert set(found.infos["reader_id"]) == {e.reader_id}
        assert all(dataset.action_space.contains(action) for action in found.actions)
        assert all(dataset.observation_space.contains(seen) for seen in found.observations)
    with pytest.raises(ValueError, match="exist"):
        export.export(config)


def test_without_minari_it_says_what_to_install(logged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(RuntimeError, match=r"feedgym\[export\]"):
        export.export(ExportConfig(log=logged))
    with pytest.raises(SystemExit, match=r"feedgym export: minari: not installed"):
        export.main(["--log", str(logged)])
    with pytest.raises(ValueError, match="readers: got 0"):
        ExportConfig(log=logged, readers=0)
    with pytest.raises(RuntimeError, match="minari"):
        write_minari([], "x-v0", names=(), highest_id=0, policy="")


# ---- Open Bandit Pipeline ----
def grid(values: Doubles, size: int) -> Doubles:
    return values.reshape(-1, size)


def test_open_bandit_pipelines_keys_and_shapes(table: pa.Table) -> None:
    feedback = open_bandit_feedback(table)
    rows = table.num_rows
    assert (table["article_id"].to_numpy() >= 0).all()
    assert feedback["n_rounds"] == rows
    assert feedback["n_actions"] == len(np.unique(table["article_id"].to_numpy()))
    for name in ("action", "position", "reward", "pscore", "slate_id", "pscore_item_position", "pscore_cascade"):
        assert feedback[name].shape == (rows,)
    assert feedback["context"].shape == (rows, 3)
    assert feedback["action"].dtype.kind == feedback["position"].dtype.kind == "i"
    assert 0 <= feedback["action"].min() <= feedback["action"].max() == feedback["n_actions"] - 1
    for name in ("pscore", "pscore_item_position", "pscore_cascade"):
        assert 0 < feedback[name].min() <= feedback[name].max() <= 1
    np.testing.assert_array_equal(np.hypot(*feedback["context"].T[:2]).round(12), np.ones(rows))
    slates = open_bandit_feedback(table, slates=True)
    assert slates["n_rounds"] == len(np.unique(table["visit_id"].to_numpy()))


def test_its_sums_over_the_dict_are_our_estimates(table: pa.Table) -> None:
    rng = np.random.default_rng(0)
    feedback, slates = open_bandit_feedback(table), open_bandit_feedback(table, slates=True)
    size = int(feedback["position"].max()) + 1
    # By visit, as our estimators want them: straight from the log.
    order = np.lexsort((table["position"].to_numpy(), table["visit_id"].to_numpy()))
    log = {name: grid(table[name].to_numpy()[order], size) for name in ("slot_propensity", "slot_marginal", "reward")}
    reward = log["reward"].astype(np.float64)
    slot, marginal = rng.uniform(0.001, 0.1, reward.shape), rng.uniform(0.001, 0.1, reward.shape)
    rho, ratio = slot / log["slot_propensity"], marginal / log["slot_marginal"]

    # OffPolicyEvaluation, InverseProbabilityWeighting: the mean over rounds of reward * pi / pscore.
    theirs = float((feedback["reward"] * marginal.ravel() / feedback["pscore"]).mean())
    assert theirs == pytest.approx(ips(ratio.ravel(), reward.ravel()).value, rel=1e-9)
    # SlateOffPolicyEvaluation: a sum over rows, divided by the number of slates.
    n = len(np.unique(slates["slate_id"]))
    joint, prefix = slot.prod(axis=1, keepdims=True), slot.cumprod(axis=1)
    for target, key, ours in (
        (np.broadcast_to(joint, slot.shape), "pscore", sips(rho, reward)),
        (prefix, "pscore_cascade", rips(rho, reward)),
        (marginal, "pscore_item_position", iips(ratio, reward)),
    ):
        theirs = float((slates["reward"] * target.ravel() / slates[key]).sum() / n)
        assert theirs == pytest.approx(ours.value, rel=1e-9), key
    # What their checks ask of a slate: one chance of the whole, and prefixes that do not rise.
    assert (np.ptp(grid(slates["pscore"], size), axis=1) == 0).all()
    assert (np.diff(grid(slates["pscore_cascade"], size), axis=1) <= 0).all()


def test_rows_in_any_order_give_the_same_dict(table: pa.Table) -> None:
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    one, other = open_bandit_feedback(table, slates=True), open_bandit_feedback(shuffled, slates=True)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


def changed(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, type=table.schema.field(name).type, from_pandas=True))


def test_padding_and_slates_shown_again_are_left_out(table: pa.Table) -> None:
    size = int(table["position"].to_numpy().max()) + 1
    article, chance = table["article_id"].to_numpy().copy(), table["slot_propensity"].to_numpy().copy()
    article[size - 1], chance[size - 1] = -1, 1.0
    slate = table["slate_id"].to_numpy().copy()
    slate[3 * size : 4 * size] = slate[size]  # the fourth visit is shown the second one's slate
    some = changed(changed(changed(table, "article_id", article), "slot_propensity", chance), "slate_id", slate)
    feedback = open_bandit_feedback(some, slates=True)
    assert len(feedback["action"]) == table.num_rows - 1 - size
    assert feedback["n_rounds"] == table.num_rows // size - 1
    kept = np.isin(np.arange(table.num_rows), [size - 1, *range(3 * size, 4 * size)], invert=True)
    assert feedback["reward"].sum() == pytest.approx(table["reward"].to_numpy()[kept].sum(dtype=np.float64))


def test_what_cannot_be_weighed_is_refused(table: pa.Table) -> None:
    with pytest.raises(ValueError, match="explores"):
        open_bandit_feedback(changed(table, "greedy", np.ones(table.num_rows, dtype=bool)))
    marginal = table["slot_marginal"].to_numpy().copy()
    marginal[7] = np.nan
    with pytest.raises(ValueError, match="slot_marginal: got '1 unknown'"):
        open_bandit_feedback(changed(table, "slot_marginal", marginal))
    with pytest.raises(ValueError, match=r"no \['greedy', 'slot_marginal'\]"):
        open_bandit_feedback(table.drop_columns(["slot_marginal", "greedy"]))


def test_the_example_of_the_page(logged: Path, table: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with a stand-in that takes what Open Bandit Pipeline takes, and sums as its IIPS does."""

    class Evaluation:
        def __init__(self, *, bandit_feedback: dict[str, Any], ope_estimators: list[Any]) -> None:
            assert {"slate_id", "context", "action", "reward", "position"} <= bandit_feedback.keys()
            self.feedback, (self.size,) = bandit_feedback, ope_estimators

        def estimate_policy_values(self, *, evaluation_policy_pscore_item_position: Doubles) -> float:
            assert self.feedback["position"].max() < self.size
            weight = evaluation_policy_pscore_item_position / self.feedback["pscore_item_position"]
            return float((self.feedback["reward"] * weight).sum() / len(np.unique(self.feedback["slate_id"])))

    stand_in = types.ModuleType("obp.ope")
    vars(stand_in).update(SlateOffPolicyEvaluation=Evaluation, SlateIndependentIPS=lambda len_list: len_list)
    monkeypatch.setitem(sys.modules, "obp", types.ModuleType("obp"))
    monkeypatch.setitem(sys.modules, "obp.ope", stand_in)
    page = (Path(__file__).parents[3] / "docs" / "guide" / "log.md").read_text()
    example = page.split("## Open Bandit Pipeline")[1].split("```python")[1].split("```")[0]
    printed: list[float] = []
    exec(example.replace("runs/log/impressions", str(logged / "impressions")), {"print": printed.append})
    visits = len(np.unique(table["visit_id"].to_numpy()))
    assert printed == [pytest.approx(table["reward"].to_numpy().sum(dtype=np.float64) / visits)]
