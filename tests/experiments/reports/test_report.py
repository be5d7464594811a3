"""The report: same bytes, the same numbers as the ranking, relative paths only."""

from pathlib import Path

import pytest

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.ranking import rank, ranking_markdown
from feedgym.experiments.reports.report import pairing_sentence, tensorboard_line, write_report
from helpers.made_up_runs import fake_runs


def report(folder: Path, runs: list[Run]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = write_report(
        folder,
        runs,
        rank(runs),
        config_text="world: vivid\nseeds: 4",
        notes=["Replay drew missing dwell by noise."],
        command="feedgym compare --preset demo",
        tensorboard_dir=folder / "tensorboard",
        reward_label="dwell minutes",
    )
    return path.read_bytes().decode()


def test_same_runs_give_the_same_bytes_in_any_folder(tmp_path: Path) -> None:
    here = report(tmp_path / "here", fake_runs())
    there = report(tmp_path / "deep" / "there", fake_runs()[::-1])
    assert here == there
    assert str(tmp_path) not in here
    assert "\r" not in here


def test_it_holds_what_a_reader_needs(tmp_path: Path) -> None:
    runs = fake_runs()
    text = report(tmp_path, runs)
    assert ranking_markdown(rank(runs)) in text
    assert "![Reward each day, readers there, reward so far](curves.png)" in text
    for part in ("feedgym compare --preset demo", "world: vivid", "- Replay drew missing dwell by noise."):
        assert part in text
    assert "4 seed(s): too few even for a look" in text
    assert "\ntensorboard --logdir tensorboard\n" in text
    assert "Oracles see what only the simulator knows" in text
    assert "| 1 | oracle-dwell (oracle, sees latents) | " in text.split("## Each seed")[1]


@pytest.mark.parametrize(("num_seeds", "says"), [(5, "enough for a look"), (9, "enough for a look"), (10, "10 seeds.")])
def test_the_limit_depends_on_the_number_of_seeds(tmp_path: Path, num_seeds: int, says: str) -> None:
    text = report(tmp_path, fake_runs(agents=["random", "popular"], seeds=range(num_seeds)))
    assert says in text.split("## Limits")[1]
    assert "Oracles" not in text


def test_pairing_is_printed_as_measured() -> None:
    ranking = rank(fake_runs(agents=["popular", "regression-dwell"]))
    versus = ranking.rows[0].versus
    assert versus is not None
    share, factor = 100 * versus.pairing_gain, 1 / (1 - versus.pairing_gain)
    assert f"differences to popular by {share:.1f} % ({factor:.1f}x)" in pairing_sentence(ranking)


def test_one_seed_and_missing_seeds(tmp_path: Path) -> None:
    text = report(tmp_path, fake_runs(seeds=[0]))
    assert "nan" not in text
    assert "Pairing cannot be measured" in text
    partial = report(
        tmp_path, fake_runs(agents=["popular"], seeds=[0, 1, 2]) + fake_runs(agents=["recent"], seeds=[1, 2])
    )
    assert "- Not every agent has finished every seed: compared on the common seeds 1, 2." in partial


def test_the_tensorboard_line_can_be_typed() -> None:
    assert tensorboard_line(Path("runs/a b/tb"), Path("runs")) == "tensorboard --logdir 'a b/tb'"
