"""The main job: several agents live through the same simulated weeks, side by side.

``feedgym compare``, ``python -m feedgym.experiments.compare`` or ``python experiments/compare.py``. Stopped and
started again, it goes on where it was.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feedgym.agents.registry import split_agents
from feedgym.env.checks import require
from feedgym.env.config import RewardConfig
from feedgym.env.readers import Expecting
from feedgym.experiments.reports import Ranking, Run, rank, ranking_csv, ranking_text
from feedgym.experiments.runs import (
    Failed,
    Message,
    RunConfig,
    Task,
    WorldConfig,
    cores,
    of_other_code,
    run_tasks,
    say,
    standing,
    words_of,
    write_bytes,
    write_json,
)

BASELINE, ORACLE, LEARNING = 1.0, 2.0, 4.0
"""About how long a run takes, by kind of agent."""
DEMO_AGENTS = (
    *("random", "recent", "popular", "linear"),
    *("contrastive-uniform", "regression-click", "regression-dwell", "return", "reinforce"),
    "oracle-planning",
)
"""One of each kind: baselines, each way to learn, and what there is to win."""


@dataclass(frozen=True, kw_only=True)
class CompareConfig(WorldConfig):
    """Cumulative reward of several agents over the same newsroom, readers and luck."""

    agents: tuple[str, ...] = DEMO_AGENTS
    """Names of ``feedgym agents``, each maybe with settings: ``regression:target=click,sharpness=4``."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """A run for each agent and seed; under one seed all agents meet the same world. 5 to look, 10 to publish."""
    out: Path = Path("runs/compare")
    """Folder for everything that comes out. The same settings and folder go on where they were stopped."""
    workers: int = 0
    """Runs side by side, each in a process with one thread; 0: as many as there are cores."""
    reuse: bool = False
    """Take finished runs of other code as they are, instead of doing them anew; the report says so."""

    def __post_init__(self) -> None:
        """Check everything that can be checked before hours of work."""
        super().__post_init__()
        object.__setattr__(self, "agents", split_agents(self.agents))
        require(len(self.agents) > 0, "agents", self.agents, "at least one")
        require(len(self.seeds) > 0, "seeds", self.seeds, "at least one")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", self.seeds, "different seeds")
        require(self.workers >= 0, "workers", self.workers, ">= 0")
        labels = [config.plan().label for config in self.runs() if config.seed == self.seeds[0]]
        require(len(set(labels)) == len(labels), "agents", labels, "different agents or settings")

    def runs(self) -> list[RunConfig]:
        """A config for each agent and seed."""
        return [self.run_of(agent, seed) for agent in self.agents for seed in self.seeds]


@dataclass(frozen=True)
class CompareResult:
    """What a comparison found."""

    runs: tuple[Run, ...]
    """The finished runs."""
    ranking: Ranking
    """Their ranking."""
    report: Path
    """The Markdown report; beside it the picture and ``ranking.csv``."""
    tensorboard: Path
    """What to give to ``tensorboard --logdir``."""


def run(config: CompareConfig, *, quiet: bool = False) -> CompareResult:
    """Do all runs that are not done yet, then rank, draw and report.

    Args:
        config: what to compare.
        quiet: show no progress.

    Raises:
        RuntimeError: runs that failed. The others are done, ranked and reported all the same.
        ValueError: an oracle among the agents, and a reader model that cannot say what it expects.
    """
    from feedgym.experiments.runs import LiveProgress

    configs = config.runs()
    _check_inputs(configs)
    tensorboard = config.out / "tensorboard"
    # The longest first, so that none of them is alone at the end: learning takes most, baselines least.
    order = sorted(configs, key=lambda c: (-_weight(c), configs.index(c)))
    tasks = [Task(c, config.out / "runs" / c.folder_name(), tensorboard, config.reuse) for c in order]
    words = words_of([standing(task.folder, task.config.settings()) for task in tasks], config.reuse)
    if words is not None:
        say(words)
    failures: list[Failed] = []
    names = [f"{c.plan().label} seed {c.seed}" for c in order]
    with LiveProgress(names, config.horizon_days, costs=[_weight(c) for c in order], quiet=quiet) as live:

        def tell(number: int, message: Message) -> None:
            if isinstance(message, Failed):
                failures.append(message)
            live.update(number, message)

        run_tasks(tasks, config.workers or cores(), tell)
    result = _report(config, configs, failures, tasks)
    if failures:
        errors = "\n\n".join(f"{names[failure.task]}:\n{failure.error}" for failure in failures)
        others = "" if result is None else f" Report of the others: {result.report}"
        raise RuntimeError(
            f"{len(failures)} of {len(tasks)} runs failed; the others are kept, and the same command goes on from "
            f"the last checkpoints.{others}\n\n{errors}"
        )
    assert result is not None
    return result


def _weight(config: RunConfig) -> float:
    """About how long a run takes, compared with the others."""
    plan = config.plan()
    if plan.learns:
        return LEARNING
    return ORACLE if plan.is_oracle else BASELINE


def _check_inputs(configs: Sequence[RunConfig]) -> None:
    """Load what the user brought, so that a mistake in it shows before hours of work."""
    configs[0].make_newsroom()
    model = configs[0].make_reader_model()
    oracles = sorted({c.plan().label for c in configs if c.plan().is_oracle})
    if oracles:
        allowed = f"a method expected_response for {', '.join(oracles)}, or --agents without oracles"
        require(isinstance(model, Expecting), "reader_model", configs[0].reader_model, allowed)


def _report(
    config: CompareConfig, configs: Sequence[RunConfig], failures: Sequence[Failed], tasks: Sequence[Task]
) -> CompareResult | None:
    """Rank, draw and report what is finished; nothing to compare where runs failed until no seed is common."""
    from feedgym.experiments.reports import logdir, plot_curves, write_report, write_summary_events
    from feedgym.experiments.runs import load_run

    failed = {tasks[failure.task].folder for failure in failures}
    folders = [config.out / "runs" / c.folder_name() for c in configs]
    runs = [load_run(folder) for folder in folders if folder not in failed]
    seeds = [{run.seed for run in runs if run.agent == agent} for agent in {run.agent for run in runs}]
    if not seeds or not set.intersection(*seeds):
        return None
    ranking = rank(runs)
    root = config.out / "tensorboard"
    write_summary_events(root, runs)
    shown = logdir(root, len(config.agents), len(config.seeds))
    label = reward_label(config.reward)
    plot_curves(runs, config.out / "curves.png", label)
    write_bytes(config.out / "ranking.csv", ranking_csv(ranking).encode())
    write_json(config.out / "compare.json", [c.settings() for c in configs])
    report = write_report(
        config.out,
        runs,
        ranking,
        config_text=_settings_text(config, config.horizon_days),
        notes=[*_notes(config, configs[0]), *_of_other_code(configs, folders)],
        command=command_line(config),
        tensorboard_dir=shown,
        reward_label=label,
    )
    return CompareResult(tuple(runs), ranking, report, shown)


def reward_label(reward: RewardConfig) -> str:
    """What the reward is, in words."""
    units = {"click": "clicks", "dwell_minutes": "minutes read", "subscription": "subscriptions"}
    parts = [
        units[name] if weight == 1 else f"{weight:g} x {units[name]}"
        for name, weight in dataclasses.asdict(reward).items()
        if weight
    ]
    return " + ".join(parts) or "nothing"


def command_line(config: CompareConfig) -> str:
    """The command that does this comparison again; where it puts the result is left out."""
    words = ["feedgym", "compare"]
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        flag = "--" + f.name.replace("_", "-")
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value == default or f.name in ("out", "workers", "reuse"):
            continue
        if isinstance(value, RewardConfig):
            for part, weight in dataclasses.asdict(value).items():
                if weight != getattr(default, part):
                    words += [f"{flag}.{part.replace('_', '-')}", f"{weight:g}"]
        elif isinstance(value, bool):
            words.append(flag if value else "--no-" + f.name)
        elif isinstance(value, tuple):
            words += [flag, *map(str, value)]
        else:
            words += [flag, str(value)]
    return shlex.join(words)


def _settings_text(config: CompareConfig, days: float) -> str:
    lines = []
    for f in dataclasses.fields(config):
        if f.name in ("out", "workers", "reuse"):
            continue
        value = days if f.name == "days" else getattr(config, f.name)
        value = value.name if isinstance(value, Path) else value
        lines.append(f"{f.name}: {' '.join(map(str, value)) if isinstance(value, tuple) else value}")
    return "\n".join(lines)


def _notes(config: CompareConfig, first: RunConfig) -> list[str]:
    notes = []
    newsroom = first.make_newsroom()
    if newsroom is not None:
        notes.append(str(getattr(newsroom, "summary", lambda: "")()))
        file_days = float(getattr(newsroom, "days", first.horizon_days))
        if first.horizon_days > file_days:
            notes.append(f"The file ends after {file_days:g} days: from then on nothing new is published.")
    if config.modules:
        notes.append("Entries are modules, each of which pools articles: a click opens a module.")
    if config.reader_model is not None:
        notes.append(f"Readers: {config.reader_model}.")
    return notes


def _of_other_code(configs: Sequence[RunConfig], folders: Sequence[Path]) -> list[str]:
    """Which of the runs are not of this code: taken with ``--reuse``."""
    names = [f"{c.plan().label} seed {c.seed}" for c in configs]
    found = [(standing(f, c.settings()), name) for c, f, name in zip(configs, folders, names, strict=True)]
    other = [(one.changed, name) for one, name in found if one.state == "finished" and one.changed]
    if not other:
        return []
    parts = sorted({part for changed, _ in other for part in changed})
    many = f"{len(other)} of {len(found)} runs {'are' if len(other) > 1 else 'is'}"
    return [f"{of_other_code(many, parts)}, taken with --reuse: {'; '.join(name for _, name in other)}."]


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping

    config = parsed(CompareConfig, args, "compare", __doc__)
    with stopping("compare"):
        result = run(config)
    from feedgym.experiments.reports import pairing_sentence, tensorboard_line

    print(ranking_text(result.ranking))
    print(f"\n{pairing_sentence(result.ranking)}")
    print(f"\nReport: {result.report}   Curves: {config.out / 'curves.png'}")
    print(f"To look further: {tensorboard_line(result.tensorboard, Path.cwd())}")


if __name__ == "__main__":
    main()
