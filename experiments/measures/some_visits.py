"""Which visits of a run are looked at: drawn apart from all that moves it, and taken out of their tick."""

import dataclasses
from typing import Any

import numpy as np

from feedgym.env.arrays import Ints
from feedgym.env.feed import Visits

_KEY = 0xE7A1


def stream(seed: int, what: int, number: int) -> np.random.Generator:
    """A generator for one day or tick, apart from all others."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_KEY, what, number)))


def visits_at(visits: Visits, row: Ints) -> Visits:
    """Some of a tick's visits, by their rows (m,) among them. Their histories are read when asked for."""

    def take(values: Any) -> Any:
        return None if values is None else values[row]

    return dataclasses.replace(
        visits,
        rows=visits.rows[row],
        reader_id=visits.reader_id[row],
        visit=visits.visit[row],
        gap_hours=visits.gap_hours[row],
        features=visits.features[row],
        device=take(visits.device),
        session=take(visits.session),
        _history=None,
    )
