"""Exposure memory: which articles a reader has been shown, how often of late, and which were clicked.

A direct-mapped table: an article has one slot in each reader's memory, its id modulo the number of slots,
and the newer article evicts. One 8-byte word a slot: ``2 * article_id + clicked`` (int32) and a level
(float32). The level is ``log(count) + now`` at the last exposure, with time in mean lives (half-lives times
log 2): an exponential decay needs no time of its own, since the count now is ``exp(level - now)``.
A ring with comparisons costs 2 to 5 times as much for each visit.
Shapes: n visits, K positions; position-major arrays (K, n).
"""

from dataclasses import dataclass

import numpy as np

from feedgym.env.arrays import Bools, Floats, Ints, SmallInts

_LN2 = np.float32(np.log(2.0))
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
    tag: SmallInts
    """``2 * article_id``: what the slot's tag is, or becomes, before a click."""
    known: Bools
    """The slot holds this article."""
    level: Floats
    """As in the module's docstring; -inf where not ``known``."""
    count: Floats
    """Decayed count of own unclicked exposures."""
    log_count: Floats
    """``log(1 + count)``"""
    clicked: Bools
    """Clicked before."""
    evicts: Bools
    """The slot holds another article."""


def recall(memory: Ints, rows: Ints, article_id: Ints, now_half_lives: np.float32) -> Recall:
    """What the readers at ``rows`` (n,) remember of ``article_id`` (K, n); time in half-lives of the memory."""
    slots = memory.shape[1]
    slot = article_id & (slots - 1)
    slot += rows * slots
    halves = memory.reshape(-1).take(slot).view(np.int32)
    held, kept = halves[:, ::2], halves[:, 1::2].view(np.float32)
    tag = article_id.astype(np.int32)
    tag <<= 1
    # Nothing but the mark of a click is left where the slot holds this article.
    differ = (held ^ tag).view(np.uint32)
    known: Bools = differ < 2
    level = np.where(known, kept, np.float32(-np.inf))
    # exp, not exp2: numpy's float32 exp2 takes 10 to 300 times as long for -inf and for denormal results.
    count = np.exp(level - now_half_lives * _LN2)
    return Recall(
        slot=slot,
        tag=tag,
        known=known,
        level=level,
        count=count,
        log_count=np.log1p(count),
        clicked=differ == 1,
        evicts=(held >= 0) & ~known,
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
    Called soon after :func:`recall`, while the slots are in the cache: later it costs twice as much.
    """
    halves = np.empty((len(clicks), 2 * clicks.shape[1]), dtype=np.int32)
    np.bitwise_or(seen.tag, clicks | seen.clicked, out=halves[:, ::2])
    level = seen.log_count + now_half_lives * _LN2
    np.copyto(level, seen.level, where=clicks)
    halves.view(np.float32)[:, 1::2] = level
    words = halves.view(np.int64)
    flat = memory.reshape(-1)
    if valid.all():
        flat[seen.slot] = words
    else:
        flat[seen.slot[valid]] = words[valid]
