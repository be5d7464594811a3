"""What readers are interested in: a vector in the space of the article vectors, and how it drifts.

Shapes: n readers, T topics, D dimensions. Time is in hours.
"""

import numpy as np

from feedgym.env.arrays import Doubles, Floats
from feedgym.env.newsroom import unit
from feedgym.env.noise import Noise


def mixed_interest(centers: Floats, concentration: float, noise: Noise) -> Floats:
    """A Dirichlet mix of the topics' centres (T, D), scaled to length 1: float32 (n, D)."""
    mix = noise.gamma("taste", concentration, size=len(centers))
    # A row whose draws all underflow would have no taste: none does at any usual concentration.
    mix /= np.maximum(mix.sum(axis=1, keepdims=True), 1e-300)
    # einsum: a matrix product may round a row by the number of its rows.
    return unit(np.einsum("nt,td->nd", mix, centers.astype(np.float64)))


def normal_interest(dim: int, sd: float, noise: Noise) -> Floats:
    """Normal draws of mean 0 and standard deviation ``sd`` in each of D dimensions: float32 (n, D)."""
    interest: Floats = (sd * noise.normal("taste", "reader", size=dim)).astype(np.float32)
    return interest


def drifted(interest: Floats, hours: Doubles, sd: float, time_hours: float, noise: Noise) -> Floats:
    """Interests (n, D) after ``hours`` (n,) of an Ornstein-Uhlenbeck process: exact, and ``N(0, sd^2)`` stays so.

    ``u <- rho u + sd sqrt(1 - rho^2) N`` with ``rho = exp(-hours / time_hours)``; keyed by reader and visit.
    """
    kept = np.exp(hours * (-1.0 / time_hours))
    spread = sd * np.sqrt(1.0 - kept * kept)
    draws = noise.normals("drift", interest.shape[1])
    draws *= spread.astype(np.float32)[:, None]
    draws += interest * kept.astype(np.float32)[:, None]
    return draws
