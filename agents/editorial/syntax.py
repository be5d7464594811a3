"""Editorial rules as words: how the command line writes them (docs/guide/editorial.md)."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from feedgym.agents.editorial.rules import CapPerCategory, Exclude, MinimumShare, Pin, Rule, Rules
from feedgym.env.checks import require

SYNTAX = (
    "rules joined by '+': exclude(812), exclude(topic=3), exclude(age_hours>24), cap(topic,2), cap(topic=3,1), "
    "pin(812,0), pin(topic=3,1), share(topic=3,0.2)"
)


def rules_of(rules: str | Iterable[Rule] | None) -> Rules:
    """Rules from the command line's syntax (``SYNTAX``), or from Python objects; None has none.

    Raises:
        ValueError: what cannot be read, or contradicts itself.
    """
    return _sorted(rules if rules is None or isinstance(rules, str) else tuple(rules))


@functools.lru_cache(maxsize=64)  # asked for at every tick
def _sorted(rules: str | tuple[Rule, ...] | None) -> Rules:
    every = _parse(rules) if isinstance(rules, str) else rules or ()
    for rule in every:
        require(isinstance(rule, Rule), "rules", rule, "Exclude, CapPerCategory, Pin or MinimumShare")

    def of(kind: type) -> tuple[object, ...]:
        return tuple(rule for rule in every if isinstance(rule, kind))

    return Rules(of(Exclude), of(CapPerCategory), of(Pin), of(MinimumShare))  # type: ignore[arg-type]


def _parse(text: str) -> tuple[Rule, ...]:
    """The rules of a text; also of ``str`` of a tuple of rules, so that labels of agents can be read back."""
    text = "".join(text.split())
    bare = text[1:-1].rstrip(",") if text.startswith("(") else text
    words = re.split(r"(?<=\))[+,]", bare)
    return tuple(_parse_one(word) for word in words) if bare else ()


def _parse_one(word: str) -> Rule:
    number = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
    found = re.fullmatch(rf"(exclude|cap|pin|share)\((\w+)(?:([=<>])({number}))?(?:,({number}))?\)", word)
    if found is None:
        raise ValueError(f"rules: got {word!r}, needs {SYNTAX}")
    kind, name, sign, value, last = found.groups()
    try:
        return _made(kind, name, sign, value, last)
    except (TypeError, KeyError):
        raise ValueError(f"rules: got {word!r}, needs {SYNTAX}") from None


def _made(kind: str, name: str, sign: str | None, value: str | None, last: str | None) -> Rule:
    """One rule; what lacks a part, or has one too many, raises ``TypeError`` or ``KeyError``."""
    if (kind == "exclude") != (last is None) or (sign in ("<", ">") and kind != "exclude"):
        raise KeyError(kind)
    article = int(name) if name.isdigit() and sign is None else None
    if kind == "exclude" and article is not None:
        return Exclude(article_id=article)
    if kind == "exclude" and sign is not None:
        bound = float(_given(value))
        if sign == "=":
            return Exclude(column=name, category=_whole(kind, _given(value)))
        return Exclude(column=name, above=bound) if sign == ">" else Exclude(column=name, below=bound)
    if kind == "cap":
        return CapPerCategory(name, _whole(kind, _given(last)), None if value is None else _whole(kind, value))
    if kind == "pin" and article is not None:
        return Pin(position=_whole(kind, _given(last)), article_id=article)
    category = _whole(kind, _given(value))
    if kind == "pin":
        return Pin(position=_whole(kind, _given(last)), column=name, category=category)
    return MinimumShare(name, category, float(_given(last)))


def _given(part: str | None) -> str:
    if part is None:
        raise KeyError("part")
    return part


def _whole(kind: str, word: str) -> int:
    require(re.fullmatch(r"-?\d+", word) is not None, kind, word, "a whole number")
    return int(word)
