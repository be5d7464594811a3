"""Editorial rules as words: how the command line writes them (docs/guide/editorial.md)."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

from feedgym.agents.editorial.rules import CapPerCategory, Exclude, MinimumShare, Pin, Rule, Rules
from feedgym.agents.expressions import number_of, source_of, terms_of
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
    if not text.strip():
        return ()
    try:
        terms = terms_of(text)
    except ValueError:
        raise ValueError(f"rules: got {text!r}, needs {SYNTAX}") from None
    return tuple(map(_rule, terms))


def _rule(term: ast.expr) -> Rule:
    match term:
        case ast.Call(func=ast.Name(id="exclude"), args=[subject], keywords=[]):
            rule = _exclude(subject)
        case ast.Call(func=ast.Name(id="cap" | "pin" | "share" as kind), args=[subject, last], keywords=[]):
            rule = _with_number(kind, subject, last)
        case _:
            rule = None
    if rule is None:
        raise ValueError(f"rules: got {source_of(term)!r}, needs {SYNTAX}")
    return rule


def _exclude(subject: ast.expr) -> Rule | None:
    """``812``, ``topic=3``, ``age_hours>24``."""
    match subject, number_of(subject):
        case _, int(article) if article >= 0:
            return Exclude(article_id=article)
        case ast.Compare(left=ast.Name(id=column), ops=[sign], comparators=[bound]), _:
            value = number_of(bound)
            match sign:
                case ast.Eq() if value is not None:
                    return Exclude(column=column, category=_whole("exclude", value))
                case ast.Gt() if value is not None:
                    return Exclude(column=column, above=float(value))
                case ast.Lt() if value is not None:
                    return Exclude(column=column, below=float(value))
    return None


def _with_number(kind: str, subject: ast.expr, last: ast.expr) -> Rule | None:
    """``cap(topic,2)``, ``cap(topic=3,1)``, ``pin(812,0)``, ``pin(topic=3,1)``, ``share(topic=3,0.2)``."""
    number, article = number_of(last), number_of(subject)
    column, category = _category(subject)
    if number is None:
        return None
    if kind == "cap" and column is not None:
        return CapPerCategory(column, _whole(kind, number), None if category is None else _whole(kind, category))
    if kind == "pin" and isinstance(article, int) and article >= 0:
        return Pin(position=_whole(kind, number), article_id=article)
    if column is None or category is None or kind == "cap":
        return None
    if kind == "pin":
        return Pin(position=_whole(kind, number), column=column, category=_whole(kind, category))
    return MinimumShare(column, _whole(kind, category), float(number))


def _category(subject: ast.expr) -> tuple[str | None, float | int | None]:
    """Column and category of ``topic=3``; of ``topic`` alone the column."""
    match subject:
        case ast.Name(id=column):
            return column, None
        case ast.Compare(left=ast.Name(id=column), ops=[ast.Eq()], comparators=[value]) if number_of(value) is not None:
            return column, number_of(value)
    return None, None


def _whole(kind: str, number: float | int) -> int:
    if not isinstance(number, int):
        raise ValueError(f"{kind}: got {number!r}, needs a whole number")
    return number
