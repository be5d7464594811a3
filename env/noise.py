"""Randomness keyed by what it is about: (seed, name, reader, visit, article), never by call order.

A counter-based generator: the key is hashed by the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA
2014), once for each part of the key. So two agents under one seed meet the same readers and the same
luck, and an outcome depends neither on batch order, batch size, the other readers nor the sharding.
Shapes: n rows (readers or visits), K positions, s extra draws. Arrays of impressions are position-major
in memory, (K, n) seen as (n, K), so that per-visit values broadcast along contiguous memory.
"""

import hashlib
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from feedgym.env.arrays import Bools, Doubles, Floats, Ints

Per = Literal["reader", "visit", "impression"]
_Words = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_READER = np.uint64(0xD1342543DE82EF95)
_VISIT = np.uint64(0xDA942042E4DD58B5)
_ARTICLE = np.uint64(0xAEF17502108EF2D9)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_S40, _S32, _S12, _S11 = np.uint64(40), np.uint64(32), np.uint64(12), np.uint64(11)
_LOW_32 = np.uint64(0xFFFFFFFF)


def mix(words: _Words) -> _Words:
    """SplitMix64's finaliser, in place: every output bit depends on every input bit."""
    scratch = words >> _S30
    words ^= scratch
    words *= _MULTIPLIER_1
    np.right_shift(words, _S27, out=scratch)
    words ^= scratch
    words *= _MULTIPLIER_2
    np.right_shift(words, _S31, out=scratch)
    words ^= scratch
    return words


@lru_cache(maxsize=4096)
def name_key(name: str) -> np.uint64:
    """64 bits of the name, the same in every process (``hash`` is salted)."""
    return np.uint64(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little"))


def _uniform(words: _Words) -> Doubles:
    """53 bits of each word as a float64 in [0, 1)."""
    values: Doubles = (words >> _S11).astype(np.float64)
    values *= 2.0**-53
    return values


def _normal(words: _Words) -> Doubles:
    """Box-Muller on the two halves of each word: at most 6.7 standard deviations."""
    radius = np.sqrt(-2.0 * np.log(((words >> _S32).astype(np.float64) + 0.5) * 2.0**-32))
    normal: Doubles = radius * np.cos((words & _LOW_32).astype(np.float64) * (2.0 * np.pi * 2.0**-32))
    return normal


def _normal_pairs(words: _Words) -> Floats:
    """Box-Muller in single precision, both of each pair: float32 (n, 2 s) of words (n, s), contiguous."""
    halves = words.view(np.uint32)
    # 24 bits each: at most 5.9 standard deviations.
    unit = (halves >> np.uint32(8)).astype(np.float32)
    unit += np.float32(0.5)
    unit *= np.float32(2.0**-24)
    radius, angle = np.ascontiguousarray(unit[:, ::2]), np.ascontiguousarray(unit[:, 1::2])
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle *= np.float32(2.0 * np.pi)
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


class Noise:
    """Draws for one batch of readers, or of their visits and impressions.

    Args:
        seed: of the population, or of whoever else draws, >= 0.
        reader_id: int64 (n,).
        visit: how many visits each reader has had before this one, int (n,); None in ``spawn``.
        article_id: the slates, int64 (n, K); None where there are none.
        stream: who draws: two of them under one seed know nothing of each other.
    """

    def __init__(
        self,
        seed: int,
        reader_id: Ints,
        visit: NDArray[np.integer] | None = None,
        article_id: Ints | None = None,
        *,
        stream: str = "population",
    ) -> None:
        start = name_key(f"{stream}/{seed}")
        self._reader = mix(reader_id.astype(np.uint64) * _READER + start)
        self._visit = None if visit is None else mix(self._reader + visit.astype(np.uint64) * _VISIT)
        self._article = None if article_id is None else article_id.T
        self._foreseen: dict[str, _Words] = {}

    def foresee(self, *names: str) -> None:
        """Hash the visits for several names in one pass: the same draws as without, for fewer numpy calls."""
        if self._visit is None:
            raise ValueError(f"foresee: got {names!r}, needs a visit that is under way")
        keys = np.array([name_key(name) for name in names])
        self._foreseen = dict(zip(names, mix(self._visit + keys[:, None]), strict=True))

    def of(self, visits: Ints) -> "Noise":
        """The noise of some of these visits, by their place in the batch (m,), without their slates."""
        some = Noise.__new__(Noise)
        some._reader = self._reader.take(visits)
        some._visit = None if self._visit is None else self._visit.take(visits)
        some._article, some._foreseen = None, {}
        return some

    def uniform_at(self, name: str, keys: Ints) -> Doubles:
        """Uniform draws in (0, 1) per visit and key, float64 (n, m), such as one for each article of a shortlist.

        Args:
            name: what the draws decide.
            keys: int64 (n, m), or (1, m) where they are the same for all visits. Equal keys of a visit, equal draws.
        """
        assert self._visit is not None
        words = keys.astype(np.uint64) * _ARTICLE + mix(self._visit + name_key(name))[:, None]
        words = mix(words)
        words >>= _S12
        values: Doubles = words.astype(np.float64)
        values += 0.5  # of 52 bits: neither 0 nor 1, so that the logs of both are finite
        values *= 2.0**-52
        return values

    def exponential_at(self, name: str, keys: Ints) -> Doubles:
        """Exponential draws of mean 1, never 0; arguments and shape as :meth:`uniform_at`."""
        values = np.log(self.uniform_at(name, keys))
        return np.negative(values, out=values)

    def _words(self, name: str, per: Per, size: int | None, at: tuple[Ints, Ints] | None) -> _Words:
        """One hashed word for each draw: (n,), (n, size), (n, K), or one for each pair of ``at``."""
        base = self._reader if per == "reader" else self._visit
        if base is None:
            raise ValueError(f"per: got {per!r}, needs 'reader' where no visit is under way")
        words = None if per == "reader" else self._foreseen.get(name)
        if words is None:
            words = mix(base + name_key(name))
        if per != "impression":
            if size is None:
                return words
            return mix(words[:, None] + np.arange(1, size + 1, dtype=np.uint64) * _GOLDEN)
        if self._article is None:
            raise ValueError("per: got 'impression', needs 'visit' or 'reader' where no slate is shown")
        if at is not None:
            visit, position = at
            return mix(words.take(visit) + self._article[position, visit].astype(np.uint64) * _ARTICLE)
        keys = self._article.astype(np.uint64)
        keys *= _ARTICLE
        keys += words
        return mix(keys)

    def _finish(self, values: Doubles, per: Per, at: tuple[Ints, Ints] | None) -> Floats | Doubles:
        if per != "impression":
            return values
        single: Floats = values.astype(np.float32)
        return single if at is not None else single.T

    def uniform(
        self, name: str, per: Per = "visit", *, size: int | None = None, at: tuple[Ints, Ints] | None = None
    ) -> Floats | Doubles:
        """Uniform draws in [0, 1).

        Args:
            name: what the draw decides; another name is an independent draw.
            per: what it is keyed by besides the seed and the name: the reader, the reader's visit, or
                the visit and the article.
            size: with "reader" or "visit", this many draws a row.
            at: with "impression", only these ``(visit rows, positions)``, as ``np.nonzero`` of an (n, K)
                mask gives them.

        Returns:
            float64 (n,) or (n, size) per reader or visit; float32 (n, K), or (len(at[0]),), per impression.
        """
        words = self._words(name, per, size, at)
        if per != "impression":
            return _uniform(words)
        # Through uint32: numpy converts 32-bit words to float32 twice as fast as 64-bit ones.
        np.right_shift(words, _S40, out=words)
        values: Floats = words.astype(np.uint32).astype(np.float32)
        values *= np.float32(2.0**-24)
        return values if at is not None else values.T

    def normal(
        self, name: str, per: Per = "visit", *, size: int | None = None, at: tuple[Ints, Ints] | None = None
    ) -> Floats | Doubles:
        """Standard normal draws; arguments and shapes as :meth:`uniform`."""
        return self._finish(_normal(self._words(name, per, size, at)), per, at)

    def normals(self, name: str, size: int) -> Floats:
        """Standard normal draws per visit, float32 (n, size): a fifth of the cost of :meth:`normal`."""
        return _normal_pairs(self._words(name, "visit", (size + 1) // 2, None))[:, :size]

    def exponential(
        self, name: str, per: Per = "visit", *, size: int | None = None, at: tuple[Ints, Ints] | None = None
    ) -> Floats | Doubles:
        """Exponential draws of mean 1; arguments and shapes as :meth:`uniform`."""
        return self._finish(-np.log1p(-_uniform(self._words(name, per, size, at))), per, at)

    def gamma(self, name: str, shape: float, *, size: int) -> Doubles:
        """Gamma draws of scale 1 per reader, (n, size): Marsaglia & Tsang (ACM TOMS 2000), with their boost.

        Rejected draws are drawn again under the next attempt's name, so a row depends on its reader only.
        """
        boosted = shape + 1.0 if shape < 1.0 else shape
        d = boosted - 1.0 / 3.0
        c = 1.0 / np.sqrt(9.0 * d)
        result: Doubles = np.full((len(self._reader), size), np.nan)
        attempt = 0
        pending: Bools = np.ones(result.shape, dtype=np.bool_)
        while pending.any():
            x = _normal(self._words(f"{name}/normal/{attempt}", "reader", size, None))
            u = _uniform(self._words(f"{name}/uniform/{attempt}", "reader", size, None))
            v = (1.0 + c * x) ** 3
            positive = v > 0.0
            safe = np.where(positive, v, 1.0)
            accept = pending & positive & (np.log1p(-u) < 0.5 * x * x + d - d * safe + d * np.log(safe))
            result[accept] = (d * v)[accept]
            pending &= ~accept
            attempt += 1
        if shape < 1.0:
            boost = 1.0 - _uniform(self._words(f"{name}/boost", "reader", size, None))
            result *= boost ** (1.0 / shape)
        return result
