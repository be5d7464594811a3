"""How an article's score falls with its age, such that retrieval stays an exact inner product.

An article's columns must not depend on the moment of the request, else all would be rewritten at each tick.
So the decay must be a finite sum of f_k(now) h_k(published), and those are sums of polynomials, exponentials
and sinusoids. Training uses ``score`` with the age at the impression, serving the columns: one set of
parameters for both. A decay of one's own: a class with the methods of ``AgeDecay``, and a line in ``AGE_DECAYS``.
"""

from collections.abc import Callable

from feedgym.towers.decays.exponential import ExponentialSum
from feedgym.towers.decays.harmonic import Harmonic
from feedgym.towers.decays.protocol import AgeDecay, Hours
from feedgym.towers.decays.rates import LinearDecay, NoDecay, ProductDecay
from feedgym.towers.decays.summed import SumDecay

AGE_DECAYS: dict[str, Callable[[], AgeDecay]] = {
    "none": NoDecay,
    "linear": LinearDecay,
    "product": ProductDecay,
    "exponential": ExponentialSum,
    "harmonic": Harmonic,
    "exponential+harmonic": lambda: SumDecay((ExponentialSum(), Harmonic())),
}
"""What each name makes, with its defaults."""

__all__ = [
    "AGE_DECAYS",
    "AgeDecay",
    "ExponentialSum",
    "Harmonic",
    "Hours",
    "LinearDecay",
    "NoDecay",
    "ProductDecay",
    "SumDecay",
]
