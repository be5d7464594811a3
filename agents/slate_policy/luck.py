"""Where the draws of slates come from: a generator, or noise that is keyed by the visit.

Agents draw by :class:`~feedgym.env.noise.Noise`: a visit's slate then depends neither on who else comes in the tick,
nor on the order of the visits, nor on how they are split. A generator hands on what comes next, for whoever has slates
but no visits.
Shapes: B visits, m draws of each.
"""

from typing import TypeAlias

import numpy as np

from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.noise import Noise

Luck: TypeAlias = np.random.Generator | Noise
_ONCE: Ints = np.zeros((1, 1), dtype=np.int64)
"""The key of a draw that a visit has one of."""


def exponentials(luck: Luck, name: str, keys: Ints, num_visits: int) -> Doubles:
    """Exponential draws of mean 1, float64 (B, m).

    Args:
        luck: of the B visits.
        name: what the draws decide.
        keys: what each is about, int64 (B, m) or (1, m). Of one visit equal keys draw alike; a generator looks at the
            shape alone.
        num_visits: B.
    """
    if isinstance(luck, Noise):
        return luck.exponential_at(name, keys)
    return luck.standard_exponential((num_visits, keys.shape[1]))


def uniforms(luck: Luck, name: str, keys: Ints, num_visits: int) -> Doubles:
    """Uniform draws within 0 and 1, float64 (B, m); arguments as :func:`exponentials`."""
    if isinstance(luck, Noise):
        return luck.uniform_at(name, keys)
    return luck.random((num_visits, keys.shape[1]))


def uniform_once(luck: Luck, name: str, num_visits: int) -> Doubles:
    """One uniform draw for each visit, float64 (B,); ``name`` says what it decides."""
    return uniforms(luck, name, _ONCE, num_visits)[:, 0]


def integers(luck: Luck, name: str, bound: int | Ints, wanted: Bools) -> Ints:
    """Whole numbers from 0 to below ``bound``, one for each True of ``wanted`` (B, m), in its order, int64.

    Args:
        luck: of the B visits.
        name: what the draws decide.
        bound: one for all, or of each number that is wanted.
        wanted: bool (B, m).
    """
    if isinstance(luck, Noise):
        # Of 52 bits: with a million articles the chances differ by 1e-10 of themselves.
        values = luck.uniform_at(name, np.arange(wanted.shape[1])[None])[wanted]
        return np.minimum((values * bound).astype(np.int64), bound - 1)
    return luck.integers(bound, size=int(wanted.sum()))


def of_visits(luck: Luck, rows: Ints) -> Luck:
    """The luck of some of the visits, by number (b,); a generator's is nobody's own."""
    return luck.of(rows) if isinstance(luck, Noise) else luck
