"""The console command ``feedgym``: each word is a module, imported only when it is called for.

And what the commands share: reading settings from the command line, and ending with one clear line.
"""

import contextlib
import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

Config = TypeVar("Config")


COMMANDS = {
    "compare": ("compare", "agents live through the same weeks: ranking, curves, report, TensorBoard"),
    "train": ("train", "one run of one agent"),
    "show": ("commands.show", "look inside a run: one slate, or one reader's life"),
    "log": ("commands.log", "a log to learn from: one run of a policy that explores"),
    "offline": ("offline", "learn from a log alone; where a simulator wrote it, see what that is worth there"),
    "export": ("commands.export", "a log as a Minari dataset, for other learners"),
    "embed": ("vectors.embed", "vectors of articles and readers out of a run, for use elsewhere"),
    "agents": ("commands.agents", "the agents that ship, with their settings"),
    "towers": ("commands.towers", "the model of an agent, part by part, and what tables of ids cost"),
    "check-reader": ("commands.check_reader", "what is wrong with a reader model of your own, in plain words"),
    "benchmark": ("benchmarks.benchmark", "speed: the Feed alone, an agent in the loop, retrieval"),
    "study": ("studies.study", "the studies behind the claims in docs/"),
    "ppo": ("commands.ppo", "stable-baselines3's PPO on the single Gymnasium face (needs an environment of its own)"),
}
"""Word -> where it lives in ``feedgym.experiments``, and what it does."""


def usage() -> str:
    """What ``feedgym --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}} {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        ["usage: feedgym COMMAND [options]", "", *lines, "", "feedgym COMMAND --help explains every setting."]
    )


def main() -> None:
    """Hand over to the command's own module."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return
    if words[0] not in COMMANDS:
        sys.exit(f"feedgym: got command {words[0]!r}, needs one of {', '.join(COMMANDS)}")
    importlib.import_module(f"feedgym.experiments.{COMMANDS[words[0]][0]}").main(words[1:])


def parsed(config: type[Config], args: Sequence[str] | None, command: str, description: str | None) -> Config:
    """The config that the command line stands for; a bad value ends the program with a message that says why."""
    import tyro

    try:
        return tyro.cli(config, args=args, prog=f"feedgym {command}", description=description)
    except OSError as error:  # tyro itself shows ValueErrors
        sys.exit(f"feedgym {command}: {error}")


@contextlib.contextmanager
def stopping(command: str) -> Iterator[None]:
    """End with a message, not with a traceback, on bad input, failed runs and Ctrl-C.

    FeedGym's own warnings are lines of the output, without the place in the source.
    """
    show = warnings.showwarning

    def plain(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if category.__module__.startswith("feedgym."):
            print(f"feedgym {command}: {message}", file=sys.stderr)
        else:
            show(message, category, *rest)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = plain  # type: ignore[assignment]
            yield
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"feedgym {command}: {error}")
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoints.", file=sys.stderr)
        # As a shell reports a program that SIGINT ended.
        sys.exit(130)


if __name__ == "__main__":
    main()
