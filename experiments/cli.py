"""The console command ``feedgym``: each word is a module, imported only when it is called for."""

import importlib
import sys

COMMANDS = {
    "compare": "agents live through the same weeks: ranking, curves, report, TensorBoard",
    "train": "one run of one agent",
    "show": "look inside a run: one slate, or one reader's life",
    "log": "a log to learn from: one run of a policy that explores",
    "offline": "learn from a log alone; where a simulator wrote it, see what that is worth there",
    "export": "a log as a Minari dataset, for other learners",
    "embed": "vectors of articles and readers out of a run, for use elsewhere",
    "agents": "the agents that ship, with their settings",
    "towers": "the model of an agent, part by part, and what tables of ids cost",
    "check-reader": "what is wrong with a reader model of your own, in plain words",
    "benchmark": "speed: the Feed alone, an agent in the loop, retrieval",
    "study": "the studies behind the claims in docs/",
    "ppo": "stable-baselines3's PPO on the single Gymnasium face (needs an environment of its own)",
}


def usage() -> str:
    """What ``feedgym --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}} {line}" for name, line in COMMANDS.items()]
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
    module = words[0].replace("-", "_")
    importlib.import_module(f"feedgym.experiments.{module}").main(words[1:])


if __name__ == "__main__":
    main()
