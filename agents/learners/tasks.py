"""Surrogate tasks: what the towers are trained to foretell of an impression, or a click, and sums of several.

The true aim, minutes over weeks, is not to be had for an impression; each task stands for it (docs/mathematics.md 4.1).
Shapes: B visits, K positions, n visits in the replay.
"""

import ast
import math
from typing import Literal, get_args

import numpy as np

from feedgym.agents.expressions import number_of, source_of, terms_of
from feedgym.agents.learners.replay import Replay, VisitBatch
from feedgym.agents.learners.returns.returns import chain_order
from feedgym.env.arrays import Bools, Floats, Ints
from feedgym.env.checks import require

Task = Literal["click", "dwell", "subscription", "next", "completed"]
TASKS: tuple[Task, ...] = get_args(Task)
"""``click``: opened or not. ``dwell``: minutes read, 0 where not opened. ``subscription``: opened at the visit that
ended in one. ``next``: the article that the reader clicks next, at this visit or a later one. ``completed``: opened and
read for at least so many minutes."""
CLICK_TASKS: tuple[Task, ...] = ("click", "subscription", "next", "completed")
"""Those that either came true or did not."""


def parse_tasks(text: str) -> tuple[tuple[Task, float], ...]:
    """Tasks and their weights from ``click``, or a weighted sum such as ``click+0.5*dwell``.

    Raises:
        ValueError: on an unknown task, one that is there twice, or a weight that is not > 0.
    """
    allowed = f"{', '.join(TASKS)}, or a sum such as click+0.5*dwell"
    try:
        terms = terms_of(text)
    except ValueError:
        terms = []
    require(len(terms) > 0, "target", text, allowed)
    parts: list[tuple[Task, float]] = []
    for term in terms:
        weight: float | int | None = 1.0
        if isinstance(term, ast.BinOp) and isinstance(term.op, ast.Mult):
            weight, term = number_of(term.left), term.right
        task = next((task for task in TASKS if task == source_of(term)), None)
        if task is None:
            raise ValueError(f"target: got {text!r}, needs {allowed}")
        if weight is None or not 0 < weight < math.inf:
            raise ValueError(f"target: got {text!r}, needs weights > 0, finite")
        parts.append((task, float(weight)))
    names = [name for name, _ in parts]
    require(len(set(names)) == len(names), "target", text, "each task once")
    return tuple(parts)


def targets(task: Task, batch: VisitBatch, next_id: Ints | None, completed_minutes: float = 1.0) -> Floats:
    """What each impression of a batch came to, float32 (B, K): minutes for ``dwell``, else 0 or 1.

    Args:
        task: which.
        batch: visits.
        next_id: :func:`next_clicks` of these visits, (B,); for ``next`` only.
        completed_minutes: from which an opened article counts as read, for ``completed`` only.
    """
    if task == "dwell":
        return batch.dwell_minutes
    if task == "click":
        clicked: Floats = batch.clicks.astype(np.float32)
        return clicked
    if task == "subscription":
        subscribed: Floats = (batch.clicks & batch.subscribed[:, None]).astype(np.float32)
        return subscribed
    if task == "completed":
        read: Floats = (batch.clicks & (batch.dwell_minutes >= completed_minutes)).astype(np.float32)
        return read
    assert next_id is not None
    following: Floats = ((batch.article_id == next_id[:, None]) & (next_id >= 0)[:, None]).astype(np.float32)
    return following


def first_clicks(replay: Replay) -> Ints:
    """The first article clicked at each visit in the replay, from the top, -1 where none: int64 (n,)."""
    clicks, shown = replay.column("clicks"), replay.column("article_id")
    place = clicks.argmax(axis=1)
    first: Ints = np.where(clicks.any(axis=1), shown[np.arange(len(shown)), place], -1).astype(np.int64)
    return first


def next_clicks(replay: Replay) -> Ints:
    """The article that each visit's reader clicks next, at that visit or later; -1 where none is known: int64 (n,)."""
    order, last = chain_order(replay.column("row"), replay.column("now"))
    clicked = first_clicks(replay)[order]
    place = np.arange(len(order))
    # The next visit with a click, and whether it comes before the reader's visits end.
    with_click = np.where(clicked >= 0, place, len(order))
    following = np.minimum.accumulate(with_click[::-1])[::-1]
    end = np.minimum.accumulate(np.where(last, place, len(order))[::-1])[::-1]
    found = following <= end
    result: Ints = np.full(len(order), -1, dtype=np.int64)
    result[order] = np.where(found, clicked[np.where(found, following, 0)], -1)
    return result


def previous_visits(replay: Replay) -> tuple[Ints, Bools]:
    """Slot of each visit's reader's visit before, int64 (n,), and whether the replay has one, bool (n,)."""
    order, last = chain_order(replay.column("row"), replay.column("now"))
    first = np.roll(last, 1)
    before: Ints = np.zeros(len(order), dtype=np.int64)
    before[order] = np.roll(order, 1)
    known: Bools = np.zeros(len(order), dtype=np.bool_)
    known[order] = ~first
    return before, known
