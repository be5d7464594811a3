"""``feedgym agents``: the agents that ship; ``feedgym agents NAME``: the settings of one, with defaults."""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from feedgym.agents.baselines import OracleAgent
from feedgym.agents.registry import AGENTS, agent_kinds

CONFIGS = (
    "feedgym.agents.learners.settings:RegressionConfig",
    "feedgym.agents.learners.settings:ContrastiveConfig",
    "feedgym.agents.learners.settings:ReinforceConfig",
    "feedgym.agents.learners.settings:DirectConfig",
    "feedgym.agents.learners.settings:LtvConfig",
    "feedgym.agents.learners.settings:FutureConfig",
    "feedgym.agents.two_tower.settings:TwoTowerAgentConfig",
    "feedgym.agents.baselines.popularity:RecentConfig",
    "feedgym.agents.baselines.popularity:PopularConfig",
    "feedgym.agents.baselines.sponsored:SponsoredConfig",
    "feedgym.agents.slate_policy.policy:PolicyConfig",
    "feedgym.agents.baselines.popularity:RandomConfig",
)
"""Where settings are documented, the more special ones first."""
USAGE = """usage: feedgym agents [NAME]

Without NAME: the agents that ship. With NAME: its settings, with their defaults."""


def agents_text() -> str:
    """All agents, a line each."""
    width = max(map(len, AGENTS))
    lines = [f"{name:<{width}}  {line}" for name, line in AGENTS.items()]
    return "\n".join(
        [
            *lines,
            "",
            "feedgym agents NAME shows an agent's settings. They follow its name:",
            "  feedgym compare --agents popular regression:target=click,sharpness=4",
        ]
    )


def settings_text(name: str) -> str:
    """The settings of one agent.

    Raises:
        ValueError: there is no agent of this name.
    """
    kinds = agent_kinds()
    if name not in kinds:
        raise ValueError(f"agent: got {name!r}, needs one of {', '.join(kinds)}")
    kind = kinds[name]
    lines = [f"{name}: {kind.description}"]
    if not kind.settings:
        return f"{lines[0]}\nIt has no settings."
    docs = field_docs(kind.settings)
    for key, default in kind.settings.items():
        lines.append(f"  {key}={str(default).replace(' ', '')}")
        lines += textwrap.wrap(docs.get(key, ""), 100, initial_indent="      ", subsequent_indent="      ")
    key, default = next(iter(kind.settings.items()))
    lines += ["", f"To change one: --agents {name}:{key}={str(default).replace(' ', '')}"]
    return "\n".join(lines)


def field_docs(settings: Mapping[str, Any]) -> dict[str, str]:
    """What is written below the fields of the configs that these settings are made of."""
    docs = {key: text for key, text in docs_of_arguments(OracleAgent).items() if key in settings}
    for place in CONFIGS:
        module, _, name = place.partition(":")
        config = getattr(importlib.import_module(module), name)
        fields = {f.name for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}
        if fields <= settings.keys():
            docs = {key: text for key, text in docs_below_fields(config).items() if key in fields} | docs
    return docs


def docs_of_arguments(callee: type) -> dict[str, str]:
    """What the ``Args`` part of a class's docstring says."""
    part = (inspect.getdoc(callee) or "").partition("Args:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", part, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def docs_below_fields(config: type) -> dict[str, str]:
    """The string below each field of a dataclass; Python itself drops them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(config))).body[0]
    assert isinstance(tree, ast.ClassDef)
    docs = {}
    for node, below in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            docs[node.target.id] = " ".join(below.value.value.split())
    return docs


def main(args: Sequence[str] | None = None) -> None:
    """Command line."""
    words = sys.argv[1:] if args is None else list(args)
    if any(word.startswith("-") for word in words) or len(words) > 1:
        # Not tyro: one optional word, and an answer at once.
        print(USAGE)
        sys.exit(0 if words in (["-h"], ["--help"]) else 2)
    try:
        print(settings_text(words[0]) if words else agents_text())
    except ValueError as error:
        sys.exit(f"feedgym agents: {error}")


if __name__ == "__main__":
    main()
