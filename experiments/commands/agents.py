"""``feedgym agents``: the agents that ship; ``feedgym agents NAME``: the settings of one, with defaults.

NAME may be ``my_module.NAME`` of an agent of your own (docs/guide/agents.md).
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
import textwrap
import typing
from collections.abc import Sequence

from feedgym.agents.registry import AGENTS, SYSTEMS, Setting, kind_named
from feedgym.towers.config import names_in, tables_of

USAGE = """usage: feedgym agents [NAME]

Without NAME: the agents that ship. With NAME, also my_module.NAME: its settings, with their defaults."""


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
    """The settings of one agent, group by group.

    Raises:
        ValueError: there is no agent of this name.
    """
    kind = kind_named(name)
    lines = [f"{name}: {kind.description}"]
    if not kind.table:
        return f"{lines[0]}\nIt has no settings."
    group: type | None = None
    for setting in kind.table:
        if setting.group is not group:
            group = setting.group
            summary = (inspect.getdoc(group) or "").partition("\n\n")[0]
            lines += ["", " ".join(summary.split())]
        lines.append(f"  {setting.name}={_word(kind.settings[setting.name])}")
        lines += textwrap.wrap(help_of(setting), 100, initial_indent="      ", subsequent_indent="      ")
    if name in SYSTEMS:
        lines += ["", *_facts(name)]
    first = kind.table[0].name
    lines += ["", f"To change one: --agents {name}:{first}={_word(kind.settings[first])}"]
    return "\n".join(lines)


def _facts(name: str) -> list[str]:
    """What the source of a published system says, and what is done here, fact by fact."""
    lines = [
        "What its source says, and what FeedGym does (settings at size=published; where small has others, those too):"
    ]
    for fact, settings in SYSTEMS[name].rows():
        lines.append(f"  {fact.what}")
        parts = [f"source: {fact.says}", f"here: {fact.here}"]
        parts += [f"why: {fact.why}"] if fact.why else []
        parts += [settings] if settings else []
        for part in parts:
            lines += textwrap.wrap(
                part, 100, initial_indent="      ", subsequent_indent="        ", break_on_hyphens=False
            )
    return lines


def _word(default: object) -> str:
    return str(default).replace(" ", "")


def help_of(setting: Setting) -> str:
    """What a setting means, and the names that it may have now."""
    (field,) = (f for f in dataclasses.fields(setting.group) if f.name == setting.name)
    text, tables = docs_below_fields(setting.group).get(setting.name, ""), tables_of(field)
    if tables:
        where = " and ".join(place.replace(":", ".") for place in tables)
        text += f" One of {', '.join(names_in(tables))} (of {where})."
    return text.strip()


@functools.cache
def docs_below_fields(config: type) -> dict[str, str]:
    """The string below each field of a dataclass, those of its bases included.

    Python drops these strings. tyro reads them, for its own help only: it has no public function for that.
    """
    docs: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = typing.cast(ast.ClassDef, ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]).body
        for node, below in itertools.pairwise(body):
            match node, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
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
