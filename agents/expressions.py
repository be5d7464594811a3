"""The small languages of settings, read as Python reads expressions.

    regression:dim=32,widths=(64,32)      ivf:nprobe=16+nlist=400        settings of a name: ``split``, ``literal``
    click+0.5*dwell                       exclude(topic=3)+cap(topic,2)  sums of terms: ``terms_of``, ``source_of``

A sum is a Python expression, and Python's own parser reads it. Settings are not: their values may be words of the other
languages, so that they are cut at marks outside brackets, and a value that is a Python literal is read as one.
"""

import ast
import re
from typing import Any


def split(text: str, marks: str) -> list[str]:
    """Cut at any of these marks outside brackets; what is between two marks may be empty."""
    parts, depth, start = [], 0, 0
    for index, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter in marks and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def literal(word: str) -> Any:
    """A value as Python reads it where it is a literal (``4.0``, ``(64,32)``, ``None``), else the word."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def terms_of(text: str) -> list[ast.expr]:
    """The terms of a sum; a comma counts as a plus, so that a printed tuple can be read back.

    Raises:
        ValueError: it is no expression.
    """
    # `cap(topic=3,1)` names a keyword before a position, which Python refuses: `topic==3` is a comparison instead.
    python = re.sub(r"(?<![<>=!])=(?!=)", "==", "".join(text.split()))
    python = re.sub(r"(?<![\w.])0+(?=\d)", "", python)  # 007 is no number to Python
    try:
        node = ast.parse(python, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"got {text!r}, needs terms joined by '+'") from error
    return _terms(node)


def _terms(node: ast.expr) -> list[ast.expr]:
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [*_terms(left), *_terms(right)]
        case ast.Tuple(elts=parts):
            return [term for part in parts for term in _terms(part)]
    return [node]


def number_of(node: ast.expr) -> float | int | None:
    """The number that a term is, -3 and 0.5 among them; None where it is none."""
    value = literal(ast.unparse(node))
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def source_of(node: ast.expr) -> str:
    """A term as it was written, without blanks."""
    return ast.unparse(node).replace(" ", "").replace("==", "=")
