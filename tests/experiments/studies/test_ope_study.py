"""The study of off-policy estimates: its arithmetic against plain versions, and its checks find a wrong estimator."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.ope import ESTIMATORS
from feedgym.env.worlds import WORLDS
from feedgym.experiments.studies import study
from feedgym.experiments.studies.known_truth import ope
from feedgym.experiments.studies.known_truth.ope_draws import (
    READERS,
    RewardModel,
    Scored,
    Truth,
    draw,
    reader_models,
    truth_of,
)
from feedgym.experiments.studies.known_truth.ope_replications import (
    STUDIED,
    WRONG,
    ReplicationConfig,
    SeedResult,
    inputs_of,
    replicate,
    replication,
)
from feedgym.experiments.studies.known_truth.ope_scores import RIGHT_FOR, scores, summary
from feedgym.experiments.studies.known_truth.ope_states import LOGGER, Frozen, States, StatesConfig, logged_states
from helpers.plain.mixture import all_slates, plackett_luce_prefixes, uniform_prefixes
from helpers.plain.policy import plain_prefixes

LOGS = "regression-dwell:sharpness=1.0,epsilon=0.3,train_every_hours=4.0,max_steps=150"
NEAR = "regression-dwell:sharpness=1.6,epsilon=0.1,train_every_hours=4.0,max_steps=150"
TINY = StatesConfig(
    readers=400,
    warm_up_hours=10.0,
    kept_hours=3.0,
    policies={
        LOGGER: Frozen(learns=LOGS, hours=30.0, serves=LOGS),
        "near": Frozen(learns=LOGS, hours=30.0, serves=NEAR),
    },
)
SMALL = ReplicationConfig(
    states=TINY, cell_visits=200, cells=5, replications=60, at_once=7, truth_slates=200, bootstrap=100
)


@pytest.fixture(scope="module")
def states() -> States:
    return logged_states(TINY, seed=100)


@pytest.fixture(scope="module")
def models(states: States) -> dict[str, Any]:
    return dict(reader_models(WORLDS["vivid"].reader, states.centers))


@pytest.fixture(scope="module")
def truths(states: States, models: dict[str, Any]) -> dict[str, Truth]:
    return {name: truth_of(states, models, name, 600, seed) for seed, name in enumerate((LOGGER, "near"))}


@pytest.fixture(scope="module")
def small() -> SeedResult:
    return replicate(SMALL, 101)


# States, draws, truth


def test_a_drawn_reader_brings_all_visits(states: States) -> None:
    reader = np.concatenate([tick.reader for tick in states.ticks])
    came = np.unique(reader)
    assert states.num_readers == len(came) > 50
    visits, entry = states.visits_of(np.array([3, 0, 3]))
    plain = [(e, v) for e, r in enumerate((3, 0, 3)) for v in np.flatnonzero(reader == came[r])]
    assert sorted(zip(entry.tolist(), visits.tolist(), strict=True)) == plain
    assert entry.tolist() == sorted(entry)


def renamed(states: States, **of: str) -> States:
    """The same visits, where policies go by the names of others."""
    ticks = [dataclasses.replace(t, choices={name: t.choices[was] for name, was in of.items()}) for t in states.ticks]
    return dataclasses.replace(states, ticks=tuple(ticks))


@pytest.mark.parametrize("name", [LOGGER, "near"])
def test_truth_is_what_a_policy_earns_when_it_serves(
    name: str, states: States, models: dict[str, Any], truths: dict[str, Truth]
) -> None:
    visits = np.tile(np.arange(states.first[-1]), 450)
    log = draw(renamed(states, logger=name), models, {}, visits, visits, seed=5)
    for kind in READERS:
        earned = log.reward[kind].sum(axis=1)
        error = earned.std() / np.sqrt(len(earned))
        assert abs(earned.mean() - truths[name].reward[kind]) < 4 * error
        assert truths[name].error[kind] < error
        others = [abs(earned.mean() - truths[name].reward[other]) for other in READERS if other != kind]
        assert min(others) > 4 * error  # it could fail


def test_weights_of_the_logger_itself_are_1(states: States, models: dict[str, Any], truths: dict[str, Truth]) -> None:
    visits = np.arange(states.first[-1])
    drawn = draw(renamed(states, logger=LOGGER, near=LOGGER), models, {"near": truths["near"]}, visits, visits, seed=1)
    target = drawn.targets["near"]
    for name in ("slot_propensity", "slot_marginal", "inclusion"):
        np.testing.assert_array_equal(getattr(target, name), getattr(drawn.log, name))
    assert len(np.unique(drawn.log.article_id[0])) == 8


def test_same_seed_same_log_and_repeated_visits_have_their_own_luck(states: States, models: dict[str, Any]) -> None:
    visits = np.repeat(np.arange(40), 5)
    one, again = (draw(states, models, {}, visits, visits, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.log.article_id, again.log.article_id)
    for kind in READERS:
        np.testing.assert_array_equal(one.reward[kind], again.reward[kind])
    assert not np.array_equal(one.log.article_id, draw(states, models, {}, visits, visits, seed=4).log.article_id)
    slates = one.log.article_id.reshape(40, 5, -1)
    assert (slates[:, 0] != slates[:, 1]).any(axis=1).all()
    # Who stays on a page sees at least what a reader sees who leaves it, and less than one who looks at all of it.
    clicked = {kind: one.reward[kind] > 0 for kind in READERS}
    assert (clicked["cascade"] <= clicked["position"]).all()
    assert (clicked["position"] <= clicked["article"]).all()
    assert clicked["cascade"].sum() < clicked["position"].sum() < clicked["article"].sum()


def test_a_state_is_as_it_was_after_a_log(states: States, models: dict[str, Any]) -> None:
    before = [tick.state_at(np.arange(len(tick.reader))) for tick in states.ticks]
    visits = np.arange(states.first[-1])
    draw(states, models, {}, visits, visits, seed=3)
    for tick, state in zip(states.ticks, before, strict=True):
        for name, column in state.items():
            np.testing.assert_array_equal(tick.state[name], column)


# The reward model


def test_the_reward_model_is_a_line_at_each_position() -> None:
    rng = np.random.default_rng(0)
    score = rng.normal(size=(50, 2))
    line = RewardModel.fitted(score, np.array([1.0, 2.0]) + np.array([3.0, -1.0]) * score)
    np.testing.assert_allclose([line.intercept, line.slope], [[1.0, 2.0], [3.0, -1.0]])


def test_model_values_against_enumeration() -> None:
    """Four articles, slates of two, a visit in five explores: means over all slates."""
    p, s, epsilon = np.array([0.5, 0.3, 0.15, 0.05]), np.array([1.0, -2.0, 0.5, 3.0]), 0.2
    line = RewardModel(np.array([0.2, 0.1]), np.array([1.0, 0.5]))
    slates = all_slates(4, 2)
    softmax = plackett_luce_prefixes(p, slates)
    both = (1 - epsilon) * softmax + epsilon * uniform_prefixes(4, 2)
    chance, second_slot = both[:, 1], both[:, 1] / both[:, 0]
    kept = np.stack([np.full(12, 1 - epsilon), (1 - epsilon) * softmax[:, 0] / both[:, 0]], axis=1)
    at_position = chance @ s[slates]
    scored = Scored(
        kept=kept,
        p=p[slates],
        mean=np.full(12, p @ s),
        explored=np.full(12, s.mean()),
        num_live=np.full(12, 4),
        at_position=np.tile(at_position, (12, 1)),
    )
    found = line.values(s[slates], scored)
    alone = line.intercept + line.slope * s[slates]
    second = chance @ alone[:, 1]
    np.testing.assert_allclose(found.q, alone + np.array([second, 0.0]))
    # The first slot of all slates: the direct method, exact. The second one given the first.
    np.testing.assert_allclose(found.q_pi[:, 0], chance @ alone.sum(axis=1))
    for row, first in enumerate(slates[:, 0]):
        some = slates[:, 0] == first
        assert found.q_pi[row, 1] == pytest.approx(second_slot[some] @ alone[some, 1])
    assert found.slot_q is not None
    assert found.slot_q_pi is not None
    np.testing.assert_allclose(found.slot_q, alone)
    np.testing.assert_allclose(found.slot_q_pi, np.tile(chance @ alone, (12, 1)))


def test_what_the_reward_model_is_fed_with(states: States, models: dict[str, Any], truths: dict[str, Truth]) -> None:
    """The softmax of all live articles, one by one, and both kinds of visits."""
    visit = np.array([0, 1, 2])
    drawn = draw(states, models, {"near": truths["near"]}, visit, visit, seed=1)
    tick, choice = states.ticks[0], states.ticks[0].choices["near"]
    score, scored = tick.score.astype(np.float64), drawn.scored["near"]
    for row in range(2):
        p = dict.fromkeys(tick.live.tolist(), 0.0)
        mass = np.exp(choice.logits[row]).sum()
        for article, logit in zip(choice.shortlist[row].tolist(), choice.logits[row], strict=True):
            p[article] = np.exp(logit) / mass
        assert sum(p.values()) == pytest.approx(1.0)
        of = dict(zip(tick.live.tolist(), score[row].tolist(), strict=True))
        assert scored.mean[row] == pytest.approx(sum(p[a] * of[a] for a in p))
        assert scored.explored[row] == pytest.approx(sum(of.values()) / len(of))
        shown = drawn.log.article_id[row].tolist()
        assert scored.p[row] == pytest.approx([p[a] for a in shown])
        assert drawn.score[row] == pytest.approx([of[a] for a in shown])
        epsilon, live = float(np.broadcast_to(choice.epsilon, len(tick.reader))[row]), tick.live.tolist()
        both, softmax, _ = plain_prefixes(shown, p, live, epsilon)
        kept = [(1 - epsilon) * one / f for one, f in zip([1.0, *softmax], [1.0, *both], strict=True)]
        assert scored.kept[row] == pytest.approx(kept[:-1])
        assert scored.at_position[row] == pytest.approx(truths["near"].score[row])


# Replications


def test_sums_of_cells_give_the_estimates_of_whole_logs(
    states: States, models: dict[str, Any], truths: dict[str, Truth]
) -> None:
    targets = {"near": truths["near"], "same": truths[LOGGER]}
    visits, entry = states.visits_of(np.random.default_rng(0).integers(0, states.num_readers, 400))
    drawn = draw(renamed(states, logger=LOGGER, near="near", same=LOGGER), models, targets, visits, entry, seed=2)
    lines = {kind: RewardModel.fitted(drawn.score, drawn.reward[kind]) for kind in READERS}
    config = dataclasses.replace(SMALL, cells=4)
    rows = np.arange(len(visits))
    arrays = replication(drawn, lines, rows, entry // 100, config, np.random.default_rng(1))
    result = SeedResult(truth=np.zeros((3, 3)), truth_error=np.zeros((3, 3)), **arrays)
    for cells in (4, 2):
        found = result.estimates(cells)
        assert found.shape == (2, 3, len(STUDIED), 4 // cells)
        for t, h, log in np.ndindex(2, 3, 4 // cells):
            kind, kept = READERS[h], rows[entry // (100 * cells) == log]
            inputs = inputs_of(drawn, lines[kind], tuple(targets)[t], kind, kept)
            plain = [estimator.compute(inputs) for estimator in STUDIED.values()]
            assert found[t, h, :, log] == pytest.approx([one.value for one in plain], rel=1e-9)
            if cells == 4:
                sizes = [one.effective_sample_size / len(kept) for one in plain]
                assert arrays["size"][t, :, 0] == pytest.approx(sizes)
    np.testing.assert_allclose(arrays["size"][1], 1.0)
    assert (arrays["low"] < result.estimates(4)).all()
    assert (arrays["high"] > result.estimates(4)).all()


def test_every_estimator_that_ships_is_studied() -> None:
    assert set(STUDIED) == {*ESTIMATORS, WRONG} - {"pseudo_inverse"}
    assert all(set(names) <= set(STUDIED) - {WRONG, "dm"} for names in RIGHT_FOR.values())
    assert set(RIGHT_FOR["cascade"]) < set(RIGHT_FOR["position"]) < set(RIGHT_FOR["article"])


def test_the_check_finds_the_wrong_estimator_and_passes_the_right_ones(small: SeedResult) -> None:
    found = scores([summary(small, (1, 5))], SMALL.cells, (1, 5))
    assert small.count.sum() == pytest.approx(60_000, rel=0.05)
    for kind in ("article", "position"):
        assert "bias" in found[0, kind, WRONG].failures()
        for name in RIGHT_FOR[kind]:
            score = found[0, kind, name]
            assert "bias" not in score.failures(), name
            assert score.covered >= 48, name  # of 60: 57 are expected
        # The same assumption or less, and less variance.
        assert found[0, kind, "iips"].rmse < found[0, kind, "sips"].rmse
    assert "bias" in found[0, "article", "dm"].failures()  # its model is a line


# The command


def test_the_study_writes_tables_and_picture_and_goes_on(
    small: SeedResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def once(config: ReplicationConfig, seed: int) -> SeedResult:
        calls.append(seed)
        return small

    monkeypatch.setattr(ope, "replicate", once)
    monkeypatch.setattr(ope, "CONFIG", SMALL)
    monkeypatch.setattr(ope, "SEEDS", (0, 1))
    monkeypatch.setattr(ope, "SIZES", (1, 5, 50))
    command = ["ope", "--out", str(tmp_path), "--rows", str(tmp_path / "rows")]
    study.main(command)
    text = (tmp_path / "ope" / "table.md").read_text()
    assert text.startswith("Command: `feedgym study ope`")
    assert "120 replications" in text
    for kind in READERS:
        assert f"## Target `near`, readers `{kind}`" in text
    for name in STUDIED:
        assert text.count(f"| `{name}` | ") == len(READERS)
    line = next(line for line in text.splitlines() if line.startswith("| near | single slot ratios"))
    assert line.endswith("| yes |")
    assert (tmp_path / "ope" / "errors.png").stat().st_size > 10_000
    study.main(command)
    assert calls == [0, 1]
    assert (tmp_path / "ope" / "table.md").read_text() == text
    monkeypatch.setattr(ope, "CONFIG", dataclasses.replace(SMALL, bootstrap=99))
    study.main(command)
    assert calls == [0, 1, 0, 1]  # other settings are other results
