"""Evaluation of a target on a log: the report, what is refused, and with which advice."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from feedgym.agents.ope import (
    DEFAULT,
    ESTIMATORS,
    ArticleTimes,
    Evaluation,
    LoggedSlates,
    ModelValues,
    TargetPropensities,
    check_live_sets,
    evaluate,
    iips,
    inclusion_ips,
    report_markdown,
    report_table,
    rips,
    target_propensities,
)
from feedgym.agents.slate_policy import Draw, sample_slates, slate_marginals

LIVE = np.arange(12)
LISTED, LOGGER, TARGET = [1, 3, 4, 6], [1.0, 0.2, -0.5, 0.7], [0.0, 0.7, 0.5, 0.7]
MU = 0.05 + 0.04 * np.arange(12)
TIMES = ArticleTimes(np.zeros(12), np.full(12, 50.0))


def a_log(n: int = 2000, epsilon: float = 0.3) -> LoggedSlates:
    """Independent readers; what the shipped sampler served."""
    rng = np.random.default_rng(1)
    logits, listed = np.tile(LOGGER, (n, 1)), np.tile(LISTED, (n, 1))
    served = sample_slates(rng, logits, listed, LIVE, 3, epsilon)
    found = slate_marginals(served.article_id, Draw.of(logits, listed, len(LIVE), epsilon, 3))
    return LoggedSlates(
        reader_id=rng.integers(0, 300, n),
        article_id=served.article_id,
        reward=(rng.random((n, 3)) < MU[served.article_id]).astype(float),
        slot_propensity=served.slot_propensity,
        slot_marginal=found.slot_marginal,
        inclusion=found.inclusion,
        epsilon=np.full(n, epsilon),
        greedy=np.zeros(n, dtype=bool),
        num_live=np.full(n, len(LIVE)),
        made_hours=np.full(n, 3.0),
        slate_id=np.arange(n),
    )


def a_target(log: LoggedSlates) -> TargetPropensities:
    n = log.num_visits
    return target_propensities(log, np.tile(TARGET, (n, 1)), np.tile(LISTED, (n, 1)), 0.1, articles=TIMES)


def a_model(log: LoggedSlates) -> ModelValues:
    """That every slot pays 0.25, whatever stands there."""
    q = np.tile([0.75, 0.5, 0.25], (log.num_visits, 1))
    each = np.full(q.shape, 0.25)
    return ModelValues(q=q, q_pi=q, slot_q=each, slot_q_pi=each)


@pytest.fixture(scope="module")
def log() -> LoggedSlates:
    return a_log()


@pytest.fixture(scope="module")
def target(log: LoggedSlates) -> TargetPropensities:
    return a_target(log)


def run(log: LoggedSlates, target: TargetPropensities | None, *args: Any, **options: Any) -> Evaluation:
    return evaluate(log, target, *args, rng=np.random.default_rng(0), replicates=200, **options)


def truth() -> float:
    """Of the target: independent readers, so inclusion probabilities times mu."""
    every = slate_marginals(LIVE[:, None], Draw.of([TARGET] * 12, [LISTED] * 12, 12, 0.1, 3))
    return float(every.inclusion[:, 0] @ MU)


def test_default_report(log: LoggedSlates, target: TargetPropensities) -> None:
    found = run(log, target, a_model(log))
    assert tuple(row.estimator for row in found.rows) == DEFAULT
    assert found.replicates.shape == (200, 4)
    for row in found.rows[:3]:
        assert row.low < row.value < row.high
        assert row.low < truth() < row.high
        assert row.standard_error == pytest.approx((row.high - row.low) / 3.92, rel=0.3)
    assert found.rows[3].value == pytest.approx(0.75)
    assert (found.num_visits, found.num_readers) == (2000, len(np.unique(log.reader_id)))
    assert found.logged == pytest.approx(log.reward.sum() / 2000)
    # A model is left out where there is none.
    assert [row.estimator for row in run(log, target).rows] == ["sniips", "snrips"]


def test_all_estimators(log: LoggedSlates, target: TargetPropensities) -> None:
    whole = replace(target, pseudo_inverse=np.ones(2000))
    found = run(log, whole, a_model(log), estimators=tuple(ESTIMATORS))
    values = {row.estimator: row.value for row in found.rows}
    rho = target.slot_propensity / log.slot_propensity
    assert values["rips"] == rips(rho, log.reward).value
    assert target.slot_marginal is not None
    assert target.inclusion is not None
    assert log.slot_marginal is not None
    assert log.inclusion is not None
    assert values["iips"] == iips(target.slot_marginal / log.slot_marginal, log.reward).value
    assert values["inclusion_ips"] == inclusion_ips(target.inclusion / log.inclusion, log.reward).value
    assert values["pseudo_inverse"] == pytest.approx(found.logged)  # its weights here are 1
    for name in ("sips", "rips", "iips", "inclusion_ips", "cascade_dr", "iips_dr", "sniips_dr"):
        row = next(row for row in found.rows if row.estimator == name)
        assert abs(row.value - truth()) < 4 * row.standard_error


def test_the_logger_itself(log: LoggedSlates) -> None:
    """Equal policies: all weights are 1, and all estimates the log's mean."""
    same = TargetPropensities(
        slot_propensity=log.slot_propensity, slot_marginal=log.slot_marginal, inclusion=log.inclusion
    )
    modelled = ("cascade_dr", "iips_dr", "sniips_dr", "dm")
    names = [n for n in ESTIMATORS if n not in (*modelled, "pseudo_inverse")]
    for row in run(log, same, estimators=names).rows:
        assert row.value == pytest.approx(float(log.reward.sum(axis=1).mean()), abs=1e-12)
        assert row.diagnostics.effective_sample_size == pytest.approx(2000)
        assert row.diagnostics.warnings == ()


def test_tables(log: LoggedSlates, target: TargetPropensities) -> None:
    found = run(log, target, a_model(log))
    table = report_table(found, truth())
    assert [line["covers"] for line in table[:3]] == [True] * 3
    assert "truth" not in report_table(found)[0]
    text = report_markdown(found, truth())
    lines = text.splitlines()
    assert lines[2].startswith(f"| sniips | {found.rows[0].value:.4f} | {found.rows[0].low:.4f} to ")
    assert all(line.count("|") == 9 for line in lines[:6])
    assert "| estimator | value | 95% interval |" in text
    assert f"Truth: {truth():.4f}." in text
    assert "dm extrapolates" in text.lower()
    off = replace(target, slot_propensity=target.slot_propensity * 0.5)
    assert "**snrips**: mean weight" in report_markdown(run(log, off))


def test_notes(log: LoggedSlates, target: TargetPropensities) -> None:
    def notes(log: LoggedSlates, **options: Any) -> str:
        return "; ".join(run(log, target, **options).notes)

    assert notes(log) == ""
    assert "propensities are estimated" in notes(replace(log, estimated=True))
    assert "does not say epsilon" in notes(replace(log, epsilon=None))
    assert "too narrow" in notes(replace(log, reader_id=np.arange(2000) % 9))


# Refusals


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if n not in ("dm", "pseudo_inverse")])
def test_no_weights_without_support(log: LoggedSlates, target: TargetPropensities, name: str) -> None:
    model = a_model(log)
    epsilon, greedy = np.full(2000, 0.3), np.zeros(2000, dtype=bool)
    epsilon[5], greedy[[3, 7]] = 0.0, True
    with pytest.raises(ValueError, match=r"epsilon = 0 in 1 of 2000 visits, needs epsilon > 0 for .*Log with"):
        run(replace(log, epsilon=epsilon), target, model, estimators=(name,))
    with pytest.raises(ValueError, match=r"2 greedy slates of 2000, needs sampled ones .*take dm alone"):
        run(replace(log, greedy=greedy), target, model, estimators=(name,))


def test_what_the_refusal_advises_works(log: LoggedSlates, target: TargetPropensities) -> None:
    epsilon = np.full(2000, 0.3)
    epsilon[:40] = 0.0
    part = replace(log, epsilon=epsilon)
    kept = part.epsilon is not None and part.epsilon > 0
    assert run(part.select(kept), target.select(kept)).num_visits == 1960
    alone = run(part, None, a_model(log), estimators=("dm",))
    assert "extrapolates" in alone.notes[0]
    assert alone.rows[0].value == pytest.approx(0.75)


def test_a_slate_counts_once(log: LoggedSlates, target: TargetPropensities) -> None:
    again = replace(log, slate_id=np.arange(2000) // 2)
    with pytest.raises(ValueError, match=r"slate_id: got '1000 visits that show an earlier .*first_visits"):
        run(again, target)
    first = again.first_visits()
    np.testing.assert_array_equal(first, np.arange(0, 2000, 2))
    assert run(again.select(first), target.select(first)).num_visits == 1000
    np.testing.assert_array_equal(replace(log, slate_id=None).first_visits(), np.arange(2000))


def test_first_visits_keep_the_order_of_the_log() -> None:
    log = replace(a_log(5), slate_id=np.array([9, 2, 9, 1, 2]))
    np.testing.assert_array_equal(log.first_visits(), [0, 1, 3])


def test_changed_catalogues(log: LoggedSlates, target: TargetPropensities) -> None:
    other = np.full(2000, 12)
    other[9] = 13
    with pytest.raises(ValueError, match=r"13 live articles in row 9, where 12 were logged.*catalogue has changed"):
        run(log, replace(target, num_live=other))
    with pytest.raises(ValueError, match=r"articles: got '13 live at 3 h, where row 0 logged 12'.*changed since"):
        check_live_sets(log, ArticleTimes(np.zeros(13), np.full(13, 50.0)))
    expired = np.full(12, 50.0)
    shown = int(log.article_id[0, 0])
    expired[shown] = 3.0
    with pytest.raises(ValueError, match=rf"article {shown} in row 0, not live at 3 h.*changed since"):
        check_live_sets(log, ArticleTimes(np.zeros(12), expired))
    with pytest.raises(ValueError, match=r"not live at 3 h.*changed since"):
        check_live_sets(log, ArticleTimes(np.zeros(4), np.full(4, 50.0)))  # unknown ids


def test_missing_live_sets(log: LoggedSlates) -> None:
    with pytest.raises(ValueError, match=r"articles: got None, needs publication and expiry times .*articles.parquet"):
        target_propensities(log, np.zeros((2000, 0)), np.zeros((2000, 0)), 1.0, articles=None)
    for name in ("made_hours", "num_live"):
        with pytest.raises(ValueError, match=f"log: got no {name}, needs made_hours and num_live"):
            check_live_sets(replace(log, **{name: None}), TIMES)  # type: ignore[arg-type]
    assert check_live_sets(log, TIMES) is TIMES


def test_num_live_at_the_borders() -> None:
    """Live in [published, expires); an article that expires before it is published never was."""
    times = ArticleTimes(np.array([0.0, 1.0, 2.0, 5.0]), np.array([2.0, np.inf, 3.0, 4.0]))
    at = np.array([-1.0, 0.0, 1.0, 2.0, 3.0, 4.5, 9.0])
    np.testing.assert_array_equal(times.num_live(at), [0, 1, 2, 2, 1, 1, 1])
    ids = np.tile([0, 1, 2, 3, -1, 4], (len(at), 1))
    assert (times.is_live(ids, at).sum(axis=1) == times.num_live(at)).all()
    with pytest.raises(ValueError, match="expires_hours: got"):
        ArticleTimes(np.zeros(2), np.zeros(3))
    assert not ArticleTimes(np.zeros(0), np.zeros(0)).is_live(ids, at).any()


def test_what_an_estimator_lacks(log: LoggedSlates, target: TargetPropensities) -> None:
    with pytest.raises(ValueError, match="sniips: got 'no slot_marginal'"):
        run(replace(log, slot_marginal=None), target, estimators=("sniips",))
    bare = replace(a_model(log), slot_q_pi=None)
    with pytest.raises(ValueError, match="iips_dr: got 'no slot_model'"):
        run(log, target, bare, estimators=("iips_dr",))
    with pytest.raises(ValueError, match="dm: got 'no model'"):
        run(log, target, estimators=("dm",))
    with pytest.raises(ValueError, match="pseudo_inverse: got 'no pseudo_inverse'"):
        run(log, target, estimators=("pseudo_inverse",))
    with pytest.raises(ValueError, match="estimators: got 'ips', needs names of"):
        run(log, target, estimators=("ips",))
    with pytest.raises(ValueError, match="estimators: got"):
        run(log, None)
    half = target.select(np.arange(1000))
    with pytest.raises(ValueError, match=r"target: got \(1000, 3\), needs \(2000, 3\)"):
        run(log, half)
    with pytest.raises(ValueError, match=r"model: got \(1000, 3\)"):
        run(log, target, a_model(log).select(np.arange(1000)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"slot_propensity": 0.0}, "slot_propensity: got .* in row 4"),
        ({"slot_propensity": np.nan}, "slot_propensity: got .* in row 4"),
        ({"slot_propensity": 1.5}, "slot_propensity: got .* in row 4"),
        ({"slot_marginal": -0.1}, "slot_marginal: got .* in row 4"),
        ({"inclusion": 0.0}, "inclusion: got .* in row 4"),
        ({"reward": np.inf}, "reward: got "),
        ({"epsilon": 1.5}, "epsilon: got '1.5 in row 4'"),
        ({"epsilon": np.nan}, "epsilon: got 'nan in row 4'"),
    ],
)
def test_logs_that_cannot_be(log: LoggedSlates, changes: dict[str, float], text: str) -> None:
    for name, bad in changes.items():
        array = getattr(log, name).copy()
        array[4] = bad
        with pytest.raises(ValueError, match=text):
            replace(log, **{name: array})


def test_shapes(log: LoggedSlates) -> None:
    with pytest.raises(ValueError, match=r"reader_id: got \(3,\), needs shape \(2000,\)"):
        replace(log, reader_id=np.arange(3))
    with pytest.raises(ValueError, match=r"reward: got \(2000,\)"):
        replace(log, reward=np.zeros(2000))
    with pytest.raises(ValueError, match="slates: got"):
        log.select(np.zeros(2000, dtype=bool))
    with pytest.raises(ValueError, match=r"slot_propensity: got .* in row 0"):
        TargetPropensities(slot_propensity=np.full((2, 3), -0.5))
    with pytest.raises(ValueError, match="q_pi: got"):
        ModelValues(q=np.zeros((2, 3)), q_pi=np.zeros((2, 2)))
