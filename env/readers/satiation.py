"""Satiation as an effect: topics that a reader has had enough of for a while. Two forms of it.

``TopicSatiation``: each click adds to its topic, all topics fade. ``LastClickSatiation``: only the topic of the last
click sates. Both fade by the time since the last visit. Shapes: n visits, K impressions of each, T topics;
position-major arrays (K, n). Time is in hours.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from feedgym.env.arrays import AnyArray, Arrays, Floats, Ints
from feedgym.env.readers.config import NewsReaderConfig
from feedgym.env.readers.effects import Reaction, Shown


class Form(Protocol):
    """What satiation with topics is, and how a click adds to it."""

    names: tuple[str, ...]
    """Columns; the first one fades."""

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """State of readers who have clicked nothing yet."""
        ...

    def level(self, faded: Arrays, topic: Ints) -> Floats:
        """Satiation of each visit with its impressions' topics: both (K, n)."""
        ...

    def add(self, faded: Arrays, topic: Ints, flat: Ints) -> None:
        """Take in clicks, by rising flat index into ``topic`` (K, n)."""
        ...


class Satiation:
    """An effect (see :class:`feedgym.env.readers.effects.Effect`).

    Args:
        config: weight, half-life, step, form.
    """

    def __init__(self, config: NewsReaderConfig) -> None:
        self._weight = np.float32(config.satiation_weight)
        self._half_life_hours = config.satiation_half_life_hours
        form = LastClickSatiation if config.last_click_sates else TopicSatiation
        self._form: Form = form(config.satiation_step)

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """Those of the form."""
        return self._form.columns(num_readers, num_topics)

    def beside(self, num_readers: int) -> Arrays:
        """Nothing."""
        return {}

    def oppose(self, shown: Shown, against: Floats) -> Arrays:
        """Against topics that sate."""
        faded = fade(shown.reader, self._form.names, shown.now, self._half_life_hours)
        against += self._weight * self._form.level(faded, shown.topic)
        return faded

    def after(self, shown: Shown, found: Arrays, reaction: Reaction) -> None:
        """Clicks sate."""
        self._form.add(found, shown.topic, reaction.flat_clicks)
        for name, column in found.items():
            shown.reader[name][...] = column


def fade(
    columns: AnyArray | Mapping[str, AnyArray], names: tuple[str, ...], now: float, half_life_hours: float
) -> Arrays:
    """The columns by name, the first faded over the absence since each reader's last visit."""
    half_lives = (now - columns["seen_hours"]) * (1.0 / half_life_hours)
    kept: Floats = np.exp2(-half_lives).astype(np.float32)
    level = columns[names[0]]
    faded = {name: np.array(columns[name]) for name in names[1:]}
    faded[names[0]] = level * (kept[:, None] if level.ndim == 2 else kept)
    return faded


class TopicSatiation:
    """A level for each topic. The unit is ``step`` a click."""

    names: tuple[str, ...] = ("satiation",)

    def __init__(self, step: float) -> None:
        self._step = np.float32(step)

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """State of readers who have clicked nothing yet."""
        return {"satiation": np.zeros((num_readers, num_topics), dtype=np.float32)}

    def level(self, faded: Arrays, topic: Ints) -> Floats:
        """Satiation of each visit with its impressions' topics: both (K, n)."""
        satiation = faded["satiation"]
        cell = topic + np.arange(len(satiation)) * satiation.shape[1]
        found: Floats = satiation.reshape(-1).take(cell)
        return found

    def add(self, faded: Arrays, topic: Ints, flat: Ints) -> None:
        """Take in clicks, by rising flat index into ``topic`` (K, n)."""
        satiation = faded["satiation"]
        cell = topic.reshape(-1).take(flat) + flat % len(satiation) * satiation.shape[1]
        gained = np.bincount(cell, minlength=satiation.size)
        satiation += (self._step * gained.astype(np.float32)).reshape(satiation.shape)


class LastClickSatiation:
    """One level, for the topic of the last click: ``step`` at the click. Of one slate the lowest click is the last."""

    names: tuple[str, ...] = ("satiation", "sated_topic")

    def __init__(self, step: float) -> None:
        self._step = np.float32(step)

    def columns(self, num_readers: int, num_topics: int) -> Arrays:
        """State of readers who have clicked nothing yet."""
        return {
            "satiation": np.zeros(num_readers, dtype=np.float32),
            "sated_topic": np.full(num_readers, -1, dtype=np.int32),
        }

    def level(self, faded: Arrays, topic: Ints) -> Floats:
        """Satiation of each visit with its impressions' topics: both (K, n)."""
        found: Floats = (topic == faded["sated_topic"]) * faded["satiation"]
        return found

    def add(self, faded: Arrays, topic: Ints, flat: Ints) -> None:
        """Take in clicks, by rising flat index into ``topic`` (K, n)."""
        # Position by position, so that of a visit's clicks the lowest is written last.
        visit = flat % topic.shape[1]
        faded["sated_topic"][visit] = topic.reshape(-1).take(flat)
        faded["satiation"][visit] = self._step
