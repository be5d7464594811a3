"""The picture of the estimates."""

import functools
from pathlib import Path
from typing import Any, cast

import pytest

from feedgym.agents.logged import behaviour as logged_behaviour
from feedgym.agents.logged.policy import BehaviourConfig
from feedgym.experiments import offline
from feedgym.experiments.commands.log import LogConfig, make_log
from feedgym.experiments.logs.offline_plot import draw_estimates
from feedgym.experiments.logs.offline_result import OfflineResult, result_text
from feedgym.experiments.offline import OfflineConfig
from helpers.logs.offline import QUICK, SETTINGS


def a_result(**changes: Any) -> OfflineResult:
    rows = [
        ("sniips", 1.1, 0.8, 1.5, 300.0, "", False),
        ("snrips", -170.0, -580.0, -9.0, 1.2, "effective sample size 1.2 of 900 visits, below 100: explore", False),
        ("snsips", float("nan"), float("nan"), float("nan"), 0.0, "mean weight 0 is far from 1", False),
        ("dm", 2.0, 1.9, 2.1, 900.0, "", True),
    ]
    names = ("estimator", "value", "low", "high", "effective_sample_size", "warnings", "extrapolates")
    fixed = {"mean_weight": 1.0, "unbiased_when": "always", "truth": 1.2}
    values: dict[str, Any] = {
        "agent": "reinforce",
        "num_visits": 900,
        "num_impressions": 7200,
        "propensities": "logged",
        "why_unsupported": None,
        "estimates": tuple(dict(zip(names, row, strict=True)) | fixed for row in rows),
        "logged_visit_reward": 0.9,
        "truth_error": 0.05,
    }
    return OfflineResult(**values | changes)


def test_the_picture_shows_what_can_be_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The axis is that of the sound estimates, whatever the others say; those are grey, and the model's word apart."""
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: drawn.append(self))
    draw_estimates(a_result(), tmp_path / "a.png")
    axes: Any = drawn[0].axes[0]
    low, high = axes.get_xlim()
    assert -2.0 < low < 0.8
    assert 2.1 < high < 4.0
    assert [label.get_text() for label in axes.get_yticklabels()] == ["dm", "snsips", "snrips", "sniips"]
    colours = {line.get_ydata()[0]: line.get_color() for line in axes.lines if len(line.get_ydata()) == 2}
    assert (colours[0], colours[1], colours[2], colours[3]) == ("#d55e00", "#9a9a9a", "#9a9a9a", "#0072b2")
    texts = " ".join(text.get_text() for text in axes.texts)
    assert "1.100  [0.800, 1.500]" in texts
    assert "effective sample 1, mean weight 1.00 - see warnings" in texts
    assert "the model's word alone: extrapolates" in texts
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["truth (simulator): 1.200", "logged policy: 0.900"]
    # Small rewards keep their digits, estimated propensities are said in the title, notes stand below.
    small = a_result(logged_visit_reward=0.0042, propensities="estimated", notes=("dm extrapolates",))
    draw_estimates(small, tmp_path / "b.png")
    assert "by estimated propensities" in str(drawn[1]._suptitle.get_text())  # type: ignore[attr-defined]
    assert "Note: dm extrapolates." in str(drawn[1]._supxlabel.get_text())  # type: ignore[attr-defined]
    assert "logged policy: 0.00420" in str(cast("Any", drawn[1].axes[0]).get_legend().get_texts()[1].get_text())


@pytest.mark.parametrize(("agent", "why"), [("recent:greedy=True", "greedily"), ("recent:epsilon=0.0", "epsilon = 0")])
def test_a_log_without_exploration_has_the_models_word_alone(
    agent: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few steps: however well the chances are estimated, they do not help.
    monkeypatch.setattr(logged_behaviour, "BehaviourConfig", functools.partial(BehaviourConfig, steps=20))
    make_log(LogConfig(**SETTINGS | {"agent": agent}, allow_unsupported=True, out=tmp_path))
    options: dict[str, Any] = {"log": tmp_path, "agent": QUICK, "estimate_days": 1.0, "deploy": False}
    result = offline.run(OfflineConfig(**options, reward_model=QUICK))
    assert [(row["estimator"], row["extrapolates"]) for row in result.estimates] == [("dm", True)]
    assert why in result.notes[-1]
    assert f"By the log's own propensities no other policy can be estimated: {result.why_unsupported}." in (
        result_text(result)
    )
    # Estimating chances does not make possible what was not.
    for propensities in ("auto", "estimated"):
        with pytest.raises(ValueError, match=rf"log: got .*{why}.*, needs a log by a policy that explores"):
            offline.run(OfflineConfig(**options, reward_model="none", propensities=propensities))
