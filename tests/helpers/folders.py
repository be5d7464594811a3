"""What a comparison leaves in a folder."""

from pathlib import Path

from feedgym.experiments.reports.curves import Run
from feedgym.experiments.reports.ranking import rank
from feedgym.experiments.reports.report import write_report


def report_of(runs: list[Run], folder: Path) -> str:
    """The report's text."""
    path = write_report(
        folder, runs, rank(runs), config_text="", notes=[], command="", tensorboard_dir=folder / "tensorboard"
    )
    return path.read_text()
