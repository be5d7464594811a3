"""Exposure memory: which articles a reader has been shown, how often of late, and which were clicked.

A direct-mapped table: an article has one slot in each reader's memory, its id modulo the number of slots,
and the newer article evicts. One 8-byte word a slot: ``2 * article_id + clicked`` (int32) and a level
(float32). The level is ``log2(count) + now / half_life`` at the last exposure: an exponential decay needs
no time of its own, since the count now is ``2 ** (level - now / half_life)``.
A ring with comparisons costs 2 to 5 times as much for each visit.
Shapes: n visits, K positions; position-major arrays (K, n).
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools, Floats, Ints

EMPTY = np.int64(-1)
"""A slot that has never been used: the tag of no article."""


def empty_memory(num_readers: int, slots: int) -> Ints:
    """A memory of nothing, int64 (num_readers, slots)."""
    return np.full((num_readers, slots), EMPTY)


@dataclass
class Recall:
    """What readers remember of the articles that they are shown now. Arrays are (K, n)."""

    slot: Ints
    """Flat index into the memory."""
    known: Bools
    """The slot holds this article."""
    level: Floats
    """Of the slot, as in the module's docstring; any value where not ``known``."""
    count: Floats
    """Decayed count of own unclicked exposures."""
    clicked: Bools
    """Clicked before."""
    evicts: Bools
    """The slot holds another article."""


def recall(memory: Ints, rows: Ints, article_id: Ints, now_half_lives: np.float32) -> Recall:
    """What the readers at ``rows`` (n,) remember of ``article_id`` (K, n); time in half-lives of the memory."""
    slots = memory.shape[1]
    slot = (article_id & (slots - 1)) + rows * slots
    words = memory.take(slot).view(np.int32).reshape(*slot.shape, 2)
    tag = words[..., 0]
    level = words[..., 1].view(np.float32)
    known = (tag >> 1) == article_id
    with np.errstate(invalid="ignore"):
        count = np.where(known, np.exp2(level - now_half_lives), np.float32(0.0))
    return Recall(
        slot=slot,
        known=known,
        level=level,
        count=count,
        clicked=known & ((tag & 1) == 1),
        evicts=(tag >= 0) & ~known,
    )


def remember(
    memory: Ints,
    seen: Recall,
    article_id: Ints,
    clicks: Bools,
    valid: Bools,
    now_half_lives: np.float32,
) -> None:
    """Write this visit's exposures into ``memory``: a click sets the mark, the rest raise the count by one.

    Of two articles of one slate that share a slot the lower one on the page stays: it is written last.
    """
    words = np.empty((*article_id.shape, 2), dtype=np.int32)
    words[..., 0] = 2 * article_id + (clicks | seen.clicked)
    exposed = np.log2(seen.count + np.float32(1.0)) + now_half_lives
    kept = np.where(seen.known, seen.level, np.float32(-np.inf))
    words[..., 1].view(np.float32)[...] = np.where(clicks, kept, exposed)
    packed = words.reshape(-1).view(np.int64)
    flat = memory.reshape(-1)
    if valid.all():
        flat[seen.slot.reshape(-1)] = packed
    else:
        shown = valid.reshape(-1)
        flat[seen.slot.reshape(-1)[shown]] = packed[shown]
