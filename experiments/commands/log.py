"""A log to learn from: one run of a policy that explores, with everything that it served, in one folder.

``feedgym log --agent popular --epsilon 0.1 --days 14 --out FOLDER`` and then ``feedgym offline --log FOLDER``. The run
is that of ``feedgym train``; the same command goes on with a log that was stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feedgym.agents.registry import AgentPlan, kind_named, make_agent, parse_agent
from feedgym.env.checks import require
from feedgym.experiments.runs import Report, RunConfig, read_json, run, without_code

DEFAULT_EPSILON = 0.1


@dataclass(frozen=True, kw_only=True)
class LogConfig(RunConfig):
    """One run of a logging policy."""

    agent: str = "popular"
    """Who serves: an agent of ``feedgym.agents``, maybe with settings."""
    epsilon: float | None = None
    """Chance that a visit explores, with a uniform slate of all live articles; 0.1 unless the agent's settings say."""
    log_marginals: bool = True
    """Write the exact chance of each impression at its position and anywhere on the slate, too: estimators use it."""
    evaluate_visits: int = 0
    """Visits a day whose ranking of the full live catalogue is evaluated."""
    out: Path = Path("runs/log")
    """Folder of the log: ``impressions/``, ``articles.parquet``, ``config.json``. It holds one log."""
    reuse: bool = False
    """Take a finished log of other code as it is, instead of doing it anew."""
    allow_unsupported: bool = False
    """Log a greedy policy, or one that does not explore, nevertheless: no other policy can be estimated from it."""

    def __post_init__(self) -> None:
        """Check once."""
        require(self.log, "log", self.log, "True: a log is what this command makes")
        super().__post_init__()
        why = why_unsupported(self.plan())
        allowed = "a policy that explores (--epsilon 0.1), or --allow-unsupported"
        require(why is None or self.allow_unsupported, "agent", f"{self.plan().label}: {why}", allowed)

    def plan(self) -> AgentPlan:
        """The agent, with the exploration that was asked for."""
        return with_epsilon(parse_agent(self.agent), self.epsilon)

    def run_config(self) -> RunConfig:
        """What the run's bytes depend on."""
        return self.run_of(self.plan().label, self.seed, self.face)


def with_epsilon(plan: AgentPlan, epsilon: float | None) -> AgentPlan:
    """The agent with so much exploration: as given, as its settings say, or a tenth.

    Raises:
        ValueError: an agent that has no such setting, or given twice.
    """
    settings, known = dict(plan.settings), kind_named(plan.name).settings
    if "epsilon" not in known:
        require(epsilon is None, "epsilon", epsilon, f"none: {plan.name} has no such setting")
        return plan
    if epsilon is None and "epsilon" in settings:
        return plan
    twice = epsilon is not None and settings.get("epsilon", epsilon) != epsilon
    require(not twice, "epsilon", epsilon, f"{settings.get('epsilon')}, as the agent's settings say, or not given")
    return make_agent(plan.name, **settings | {"epsilon": DEFAULT_EPSILON if epsilon is None else epsilon})


def why_unsupported(plan: AgentPlan) -> str | None:
    """Why no other policy can be estimated from what this agent serves; None if one can."""
    settings = {**kind_named(plan.name).settings, **dict(plan.settings)}
    if plan.is_oracle:
        return "it serves greedily, by what only the simulator knows"
    if settings.get("greedy"):
        return "it serves greedily: what it did not serve had no chance"
    if settings.get("epsilon") == 0.0:
        return "epsilon is 0: what is not on its shortlist has no chance"
    return None


def make_log(config: LogConfig, report: Report | None = None) -> str | None:
    """Write the log, or go on with it.

    Returns:
        Why no other policy can be estimated from it, None if one can.

    Raises:
        ValueError: the folder holds another log.
    """
    one, settings = config.run_config(), config.out / "config.json"
    if settings.exists():
        # Of other code it is the same log, to be done anew.
        same = without_code(read_json(settings)) == without_code(one.settings())
        require(same, "out", str(config.out), "an empty folder: this one holds a run with other settings")
    run(one, config.out, report=report, reuse=config.reuse)
    return why_unsupported(one.plan())


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    from feedgym.experiments.cli import parsed, stopping
    from feedgym.experiments.runs import Finished, LiveProgress

    config = parsed(LogConfig, args, "log", __doc__)
    with stopping("log"):
        title = f"{config.plan().label} seed {config.seed}"
        with LiveProgress([title], config.horizon_days, every_day=True) as live:
            why = make_log(config, lambda progress: live.update(0, progress))
            live.update(0, Finished(0))
        print(f"\nLog: {config.out}")
        if why is not None:
            print(f"Unsupported: {why}. Learners that need no propensities can use it; nothing can be estimated.")
        print(f"To learn from it alone: feedgym offline --log {config.out}")


if __name__ == "__main__":
    main()
