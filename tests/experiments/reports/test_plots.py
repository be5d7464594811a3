"""The picture: same runs, same bytes; colours by name; labels that do not touch; bands where they belong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.plots import ORACLE_COLOUR, PALETTE, _draw, line_styles, plot_curves, spread
from feedgym.experiments.reports.run_table import run_table
from feedgym.experiments.reports.statistics import band
from helpers.made_up_runs import fake_runs


def drawn(runs: list[Run]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), dpi=100)
    _draw(figure, run_table(runs), "dwell minutes", "")
    return figure


def test_same_runs_give_the_same_picture_and_other_runs_another(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "c.png")
    for name, runs in zip(names, (fake_runs(), fake_runs()[::-1], fake_runs(seeds=[1, 2, 3])), strict=True):
        plot_curves(runs, tmp_path / name, "dwell minutes")
    first, again, other = ((tmp_path / name).read_bytes() for name in names)
    assert first == again
    assert first != other
    # PNG header: width and height.
    assert (int.from_bytes(first[16:20]), int.from_bytes(first[20:24])) == (1200, 750)
    assert b"tEXt" not in first  # no version, no date


def test_the_users_own_matplotlib_settings_stay_out(tmp_path: Path) -> None:
    import matplotlib

    plot_curves(fake_runs(), tmp_path / "a.png", "reward")
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 20}):
        plot_curves(fake_runs(), tmp_path / "b.png", "reward")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_lines_are_the_means_and_areas_the_bands() -> None:
    runs = fake_runs(agents=["popular"])
    _, there, total = drawn(runs).axes
    mean, lower, upper = band(run_table(runs).cumulative("popular", "reward"))
    line = total.lines[0]
    assert line.get_xdata() == pytest.approx(np.arange(13) / 4)
    assert line.get_ydata() == pytest.approx(np.concatenate([[0], mean]))
    edges = total.collections[0].get_paths()[0].vertices
    for edge in (lower, upper):
        assert all(np.isclose(edges[:, 1], value).any() for value in edge)
    shown = there.lines[0].get_ydata()
    assert shown[0] == 100  # readers at hour 0
    assert shown[1:] == pytest.approx(run_table(runs).there("popular").mean(axis=0))


def test_one_seed_has_lines_without_bands() -> None:
    figure = drawn(fake_runs(seeds=[0]))
    assert all(axes.lines and not axes.collections for axes in figure.axes)
    assert any("one seed: no bands" in text.get_text() for text in figure.texts)


def test_oracles_are_grey_dashed_and_say_so() -> None:
    total = drawn(fake_runs()).axes[2]
    (label,) = (text for text in total.texts if "oracle-dwell" in text.get_text())
    assert label.get_text() == "oracle-dwell (oracle, sees latents)"
    assert label.get_color() == ORACLE_COLOUR
    oracle = [line for line in total.lines if line.get_color() == ORACLE_COLOUR]
    assert oracle
    assert all(line.get_linestyle() != "-" for line in oracle)


def test_those_who_compete_have_a_panel_without_oracles() -> None:
    daily, _, total, close = drawn(fake_runs()).axes
    for axes in (daily, close):
        assert all(line.get_color() != ORACLE_COLOUR for line in axes.lines)
    assert "popular" in {text.get_text() for text in close.texts}
    assert close.get_ylim()[1] < total.get_ylim()[1]


@pytest.mark.parametrize("days", [0.25, 1.0, 1.5])
def test_short_runs_can_be_drawn(tmp_path: Path, days: float) -> None:
    runs = fake_runs(days=days)
    plot_curves(runs, tmp_path / "short.png", "reward")
    daily = drawn(runs).axes[0]
    assert daily.lines[0].get_xdata()[-1] == pytest.approx(days)


def test_names_fit_into_the_picture() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn(fake_runs(agents=["popular", "oracle-planning", "oracle-" + "x" * 40]))
    canvas = FigureCanvasAgg(figure)
    texts = [text for axes in figure.axes for text in axes.texts]
    assert len(texts) == 3
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    assert max(box.x1 for box in boxes) <= 1200


def test_a_colour_belongs_to_a_name() -> None:
    few = line_styles({"random": False, "reinforce": False})
    more = line_styles({"random": False, "recent": False, "reinforce": False, "oracle-click": True})
    assert few["random"] == more["random"]
    assert few["reinforce"] == more["reinforce"]
    # No two agents of a picture look the same, not even more than there are colours.
    many = line_styles({f"agent-{index}": False for index in range(2 * len(PALETTE))})
    assert len(set(map(str, many.values()))) == 2 * len(PALETTE)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_labels_keep_their_distance_and_order(heights: list[float]) -> None:
    wanted = np.array(heights)
    placed = spread(wanted, 0.05)
    order = np.argsort(wanted, kind="stable")
    assert (np.diff(placed[order]) >= 0.05 - 1e-9).all()
    assert placed.min() >= -1e-9
    assert placed.max() <= 1 + 1e-9


def test_labels_that_have_room_stay_where_they_want_to_be() -> None:
    assert spread(np.array([0.9, 0.1, 0.5]), 0.05) == pytest.approx([0.9, 0.1, 0.5])
    assert spread(np.array([0.5, 0.5]), 0.1) == pytest.approx([0.45, 0.55])
