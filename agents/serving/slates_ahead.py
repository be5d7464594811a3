"""Slates drawn ahead for known readers, one for everybody else: the serving mode ``batch`` (docs/mathematics.md 2.7).

Each slate keeps what it was drawn from, so that the log, and whoever learns, has the chances of the moment at which it
was drawn. Some 2 KB a known reader with a shortlist of 100.
Shapes: m slates (the last is the one for unknown readers), n visits, M shortlist, K positions, L clicks of history.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from feedgym.agents.serving.acted import Acted
from feedgym.agents.slate_policy import Ahead, Draw, Served, SlateMarginals, Slates
from feedgym.env.arrays import AnyArray, Arrays, Bools, Ints, nest, unnest

_SLATES = tuple(field.name for field in dataclasses.fields(Slates))
_MARGINALS = SlateMarginals._fields
_Slates = TypeVar("_Slates", bound=Slates)
# Kept small: what stands here a million times.
_NARROW = ("history_id", "shortlist")


class SlatesAhead:
    """The slates of one refresh of the readers' clock.

    Args:
        drawn: for known readers, in any number of parts, and last for one unknown reader.
        visits_before: visits that each row of the population had had before, (P,), with 0 for later rows: the slate is
            first shown to her at the visit of that number.
        hours: when they were drawn.
    """

    def __init__(self, drawn: Sequence[Acted], visits_before: Ints, hours: float) -> None:
        self.hours = hours
        self._live = drawn[-1].live
        first = drawn[0].served
        self._scalars = {
            "num_live": first.num_live,
            "temperature": first.temperature,
            "policy_version": first.policy_version,
        }
        self._columns: Arrays = _joined([_columns(acted) for acted in drawn])
        self._before = visits_before.astype(np.int32)
        rows: Ints = np.concatenate([acted.row for acted in drawn[:-1]] or [np.zeros(0, dtype=np.int64)])
        # Row of the population -> its slate; -1, the last one, is that of unknown readers.
        self._place: Ints = np.full(int(rows.max(initial=-1)) + 1, -1, dtype=np.int32)
        self._place[rows] = np.arange(len(rows))

    def __len__(self) -> int:
        """Known readers with a slate of their own."""
        return len(self._columns["reader"]) - 1

    def of(self, rows: Ints, now: float) -> Acted:
        """What visits of readers ``rows`` (n,) get at ``now``, as it was drawn."""
        place = _looked_up(self._place, rows, -1)
        slot = np.where(place < 0, len(self), place)
        columns = {name: values.take(slot, axis=0) for name, values in self._columns.items()}
        for name in _NARROW:
            columns[name] = columns[name].astype(np.int64)
        slates = Slates(**{name: columns[name] for name in _SLATES})
        served = Served(
            **vars(slates),
            draw=Draw(
                columns["logits"],
                columns["shortlist"],
                num_live=int(self._scalars["num_live"]),
                epsilon=columns["epsilon"],
                slate_size=slates.article_id.shape[1],
                greedy=columns["greedy"],
            ),
            temperature=float(self._scalars["temperature"]),
            policy_version=int(self._scalars["policy_version"]),
            given_marginals=SlateMarginals(*(columns[n] for n in _MARGINALS)) if _MARGINALS[0] in columns else None,
            num_unfilled=int(columns["unfilled"].sum()),
            ahead=Ahead(slates, np.full(len(rows), self.hours), _looked_up(self._before, rows, 0)),
        )
        return Acted(
            now=now,
            row=rows,
            reader=columns["reader"],
            history_id=columns["history_id"],
            history_minutes=columns.get("history_minutes"),
            queries=columns["queries"],
            offset=columns["offset"],
            live=self._live,
            served=served,
        )

    def snapshot(self) -> Arrays:
        """Everything, as plain arrays."""
        arrays = nest("columns", self._columns)
        arrays |= nest("scalars", {name: np.asarray(value) for name, value in self._scalars.items()})
        arrays |= {"hours": np.asarray(self.hours), "before": self._before}
        return arrays | {"live": self._live, "place": self._place}

    @classmethod
    def restored(cls, snapshot: Arrays) -> "SlatesAhead":
        """The slates of a snapshot."""
        slates = cls.__new__(cls)
        slates.hours = float(snapshot["hours"])
        slates._live, slates._place, slates._before = snapshot["live"], snapshot["place"], snapshot["before"]
        slates._columns = unnest("columns", snapshot)
        slates._scalars = {name: value.item() for name, value in unnest("scalars", snapshot).items()}
        return slates


def _looked_up(values: AnyArray, rows: Ints, beyond: int) -> Ints:
    """``values[rows]``, int64 (n,); ``beyond`` for rows that there are none of."""
    found: Ints = np.full(len(rows), beyond, dtype=np.int64)
    inside = rows < len(values)
    found[inside] = values[rows[inside]]
    return found


def _columns(acted: Acted) -> Arrays:
    """What is kept of readers (n,), by column."""
    served, n = acted.served, len(acted.row)
    shown = np.count_nonzero(served.article_id >= 0, axis=1)
    columns: Arrays = {
        "reader": acted.reader,
        "history_id": acted.history_id.astype(np.int32),
        "queries": acted.queries,
        "offset": acted.offset,
        "shortlist": served.draw.shortlist.astype(np.int32),
        "logits": served.draw.logits,
        "epsilon": np.broadcast_to(served.epsilon, n),
        "greedy": np.broadcast_to(served.greedy, n),
        # All rows want as many, K or all that is live: their number is known from the sum over the rows.
        "unfilled": (served.num_unfilled + shown.sum()) // max(n, 1) - shown,
    }
    if acted.history_minutes is not None:
        columns["history_minutes"] = acted.history_minutes
    columns |= {name: getattr(served, name) for name in _SLATES}
    if served.given_marginals is not None:
        columns |= served.given_marginals._asdict()
    return columns


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """The parts' rows one after the other. Shortlists may differ in width; what some part lacks was not drawn there."""
    width = max(part["shortlist"].shape[1] for part in parts)
    names = set().union(*parts)
    joined: Arrays = {}
    for name in sorted(names):
        joined[name] = np.concatenate([_filled(part, name, width) for part in parts])
    return joined


def _filled(part: Arrays, name: str, width: int) -> AnyArray:
    if name in ("shortlist", "logits"):
        rows = part[name]
        padded = np.full((len(rows), width), -1 if name == "shortlist" else 0.0, dtype=rows.dtype)
        padded[:, : rows.shape[1]] = rows
        return padded
    if name in _MARGINALS and name not in part:
        # The greedy slate beside those of rules whose marginals nobody knows.
        shape = part["article_id"].shape
        return np.full(len(part["article_id"]), np.nan) if name == "inclusion_time" else np.ones(shape)
    return part[name]


def without_expired(slates: _Slates, is_live: Bools) -> _Slates:
    """Slates with what has expired since taken out: its position stays empty.

    Args:
        slates: as they were drawn, (n, K).
        is_live: whether each entry is still live, (n, K).
    """
    gone = ~is_live & (slates.article_id >= 0)
    if not gone.any():
        return slates
    return dataclasses.replace(
        slates,
        article_id=np.where(gone, -1, slates.article_id),
        slot_propensity=np.where(gone, 1.0, slates.slot_propensity),
        in_shortlist=slates.in_shortlist & ~gone,
        logit=np.where(gone, np.nan, slates.logit),
    )
