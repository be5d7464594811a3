"""What a run's folder holds when the run is asked for: nothing, something begun, a result; and whether of this code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feedgym.env.log import ARTICLES_NAME, IMPRESSIONS, MODULES_NAME
from feedgym.experiments.runs.checkpoint import CHECKPOINT, DONE, read_json
from feedgym.experiments.runs.code import changed, of_other_code
from feedgym.experiments.runs.embeddings import EMBEDDINGS

CONFIG, CURVES = "config.json", "curves.csv"


@dataclass(frozen=True)
class Standing:
    """Of one folder."""

    state: Literal["new", "begun", "finished"]
    changed: tuple[str, ...] = ()
    """Parts whose code is another one than that of what is there."""

    def is_taken(self, reuse: bool) -> bool:
        """Whether what is there counts. Of other code only what is finished can: a run of two codes is of neither."""
        return not self.changed or (reuse and self.state == "finished")


def standing(folder: Path, settings: Mapping[str, Any]) -> Standing:
    """What there is of the run with these settings (``RunConfig.settings``)."""
    if not (folder / CONFIG).exists():
        return Standing("new")
    if (folder / DONE).exists():
        state: Literal["begun", "finished"] = "finished"
    elif (folder / CHECKPOINT).exists():
        state = "begun"
    else:
        return Standing("new")  # what it has written is written over
    return Standing(state, changed(read_json(folder / CONFIG).get("code"), settings["code"]))


def start_over(folder: Path) -> None:
    """Remove what a run has written; ``done.json`` first, so that a half removed run is none."""
    for name in (DONE, CHECKPOINT, CURVES, EMBEDDINGS, ARTICLES_NAME, MODULES_NAME):
        (folder / name).unlink(missing_ok=True)
    for part in (folder / IMPRESSIONS).glob("day-*.parquet"):
        part.unlink()


def words_of(found: Sequence[Standing], reuse: bool) -> str | None:
    """What is of other code, and what becomes of it; None where all is of this."""
    other = [one for one in found if one.changed]
    if not other:
        return None
    finished = sum(one.state == "finished" for one in other)
    counts = [(finished, "finished"), (len(other) - finished, "unfinished")]
    what = " and ".join(f"{many} {state} run{'s' if many > 1 else ''}" for many, state in counts if many)
    parts = sorted({part for one in other for part in one.changed})
    words = of_other_code(f"{what} {'are' if len(other) > 1 else 'is'}", parts)
    if not finished:
        return f"{words}: done anew"
    if not reuse:
        return f"{words}: done anew; --reuse takes what is finished"
    rest = "" if finished == len(other) else "; the rest is done anew"
    return f"{words}: what is finished is taken as it is (--reuse){rest}"
