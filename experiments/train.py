"""One run: an agent lives through a world. It can be stopped at any moment and goes on where it was.

``feedgym train``, ``python -m feedgym.experiments.train`` or ``python experiments/train.py``. State is
saved at the end of simulated days, after the day's part of the log. A run that was killed and started again ends
with the same bytes as one that was not: log, curves and all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feedgym.experiments.runs import RunConfig, load_run, run

__all__ = ["TrainConfig", "load_run", "main", "run"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(RunConfig):
    """One run of one agent."""

    out: Path = Path("runs/train")
    """Folder for runs and event files. The same settings and folder go on where they were stopped."""
    reuse: bool = False
    """Take a finished run of other code as it is, instead of doing it anew."""

    def run_config(self) -> RunConfig:
        """What the run's bytes depend on."""
        return self.run_of(self.agent, self.seed, self.face)


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping
    from feedgym.experiments.runs import Finished, LiveProgress

    config = parsed(TrainConfig, args, "train", __doc__)
    with stopping("train"):
        one = config.run_config()
        folder = config.out / "runs" / one.folder_name()
        label = one.plan().label
        with LiveProgress([f"{label} seed {one.seed}"], one.horizon_days, every_day=True) as live:
            done = run(
                one,
                folder,
                tensorboard=config.out / "tensorboard",
                report=lambda progress: live.update(0, progress),
                reuse=config.reuse,
            )
            live.update(0, Finished(0))
    rates = {name: done.curves.per_reader_day(name) for name in ("reward", "clicks", "dwell_minutes", "visits")}
    there, last = done.curves.per_day_there("reward"), done.curves.there()[-1]
    print(f"\nPer reader per day, {one.readers:,} readers, {one.horizon_days:g} days:")
    print(", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in rates.items()))
    print(f"Per day of a reader who is there: reward {there:.3f}; {last:,.0f} of them at the end.")
    print(f"\nRun: {folder}")
    if config.log:
        print(f"To look inside: feedgym show {folder}")


if __name__ == "__main__":
    main()
