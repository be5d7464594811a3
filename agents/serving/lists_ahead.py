"""Lists drawn ahead for known readers, one for everybody else: the serving mode ``batch`` (docs/mathematics.md 2.7).

A list is several slates deep. Each visit shows its next page (``pages``): further pages of a session continue down, and
a new session, or a new day, starts at the top again; where nobody numbers sessions, a day is one. Each list keeps what
it was drawn from, so that the log, and whoever learns, has the chances of what is shown. Some 2 KB a known reader with
a shortlist of 100.
Shapes: m lists (the last is the one for unknown readers), n visits, D articles of a list, M shortlist, K positions,
L clicks of history.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from feedgym.agents.serving.acted import Acted
from feedgym.agents.serving.clocks import period
from feedgym.agents.serving.pages import Page, list_columns, next_pages, page_draw, page_slates, without_expired
from feedgym.agents.slate_policy import Ahead, Draw, Served, Slates, unknown_marginals
from feedgym.env.arrays import AnyArray, Arrays, Bools, Ints, lengthened, nest, unnest
from feedgym.env.feed import Visits

_DAY_HOURS = 24.0
_WIDE = ("history_id", "shortlist", "article_id")
"""Kept in 32 bits: what stands here a million times."""
_RULED = ("slot_propensity", "in_shortlist", "logit", "log_normaliser")
"""Of lists whose pages keep rules: what is not worked out when they are shown."""
Which = Callable[[Ints], Bools]
"""Which of some articles, by id; -1 is none of them."""


class ListsAhead:
    """The lists of one refresh of the readers' clock.

    Args:
        drawn: for known readers, in any number of parts, and last for one unknown reader.
        slate_size: K.
        visits_before: visits that each row of the population had had before, (P,), with 0 for later rows: the list is
            first shown to her at the visit of that number.
        hours: when they were drawn.
        ruled: pages keep rules that look at whole slates: they are shown as they were drawn.
    """

    def __init__(
        self, drawn: Sequence[Acted], slate_size: int, visits_before: Ints, hours: float, *, ruled: bool
    ) -> None:
        self.hours, self._ruled, self._slate_size = hours, ruled, slate_size
        self._live = drawn[-1].live
        first = drawn[0].served
        self._scalars = {
            "num_live": first.num_live,
            "temperature": first.temperature,
            "policy_version": first.policy_version,
        }
        self._columns: Arrays = _joined([_columns(acted, ruled=ruled) for acted in drawn])
        self._before = visits_before.astype(np.int32)
        rows: Ints = np.concatenate([acted.row for acted in drawn[:-1]] or [np.zeros(0, dtype=np.int64)])
        # Row of the population -> its list; -1, the last one, is that of unknown readers.
        self._place: Ints = np.full(int(rows.max(initial=-1)) + 1, -1, dtype=np.int32)
        self._place[rows] = np.arange(len(rows))
        # Row of the population -> where her next page begins on the list, as of that day and of her latest session.
        self._next, self._session = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
        self._day = period(hours, _DAY_HOURS)
        self._shown: tuple[Ints, Ints, Ints, int] | None = None

    def __len__(self) -> int:
        """Known readers with a list of their own."""
        return len(self._columns["reader"]) - 1

    def queries(self, rows: Ints) -> AnyArray:
        """What was searched for, of readers (n,), float32 (n, E + X)."""
        queries: AnyArray = self._columns["queries"].take(self._slots(rows), axis=0)
        return queries

    def _slots(self, rows: Ints) -> Ints:
        place = _looked_up(self._place, rows, -1)
        return np.where(place < 0, len(self), place)

    def pages(self, visits: Visits, num_live: int, is_live: Which, is_allowed: Which) -> Acted:
        """What visits get now. Until :meth:`turn`, the same again.

        Args:
            visits: of this tick, (n,).
            num_live: articles that are live now.
            is_live: which articles are.
            is_allowed: of those, which no rule excludes.
        """
        rows, day = visits.rows, period(visits.now, _DAY_HOURS)
        slots = self._slots(rows)
        columns = {name: values.take(slots, axis=0) for name, values in self._columns.items()}
        for name in _WIDE:
            columns[name] = columns[name].astype(np.int64)
        lists, greedy = columns["article_id"], columns["greedy"]
        session = np.zeros(len(rows), dtype=np.int64) if visits.session is None else visits.session
        goes_on = (_looked_up(self._session, rows, 0) == session) & (day == self._day)
        start = np.where(goes_on, _looked_up(self._next, rows, 0), 0)
        live, allowed = is_live(lists), is_allowed(lists)
        page = next_pages(lists, start, live, allowed, self._slate_size, filled=not self._ruled)
        self._shown = (rows, page.end, session, day)
        listed = columns["shortlist"]
        left = self._live[is_live(self._live) & is_allowed(self._live)]
        whole = Draw(
            columns["logits"],
            listed,
            num_live=int(self._scalars["num_live"]),
            epsilon=columns["epsilon"],
            slate_size=lists.shape[1],
            greedy=greedy,
        )
        if self._ruled:
            rest = Draw(whole.logits, listed, whole.num_live, whole.epsilon, self._slate_size, greedy)
            stays = replace(page, place=np.where(page.take(allowed | ~live, True), page.place, -1))
            drawn = _as_drawn(columns, stays)
            slates = without_expired(drawn, stays.take(live, True))
        else:
            usable = is_live(listed) & is_allowed(listed)
            at = list_columns(whole, lists, page)
            rest = page_draw(whole, lists, at, page, usable, len(left), live & allowed)
            slates = drawn = page_slates(whole, lists, at, columns["explored"], page, rest)
        first_visit = _looked_up(self._before, rows, 0)
        shown = slates.article_id >= 0
        short = np.count_nonzero(shown, axis=1) < np.minimum(self._slate_size, rest.num_live)
        served = Served(
            **vars(slates),
            draw=rest,
            temperature=float(self._scalars["temperature"]),
            policy_version=int(self._scalars["policy_version"]),
            given_marginals=unknown_marginals(drawn.article_id, greedy) if self._ruled else None,
            num_unfilled=int(self._unfilled(columns["shortage"], lists, page, shown, num_live).sum()),
            ahead=Ahead(
                drawn,
                np.full(len(rows), self.hours),
                first_visit,
                np.where(drawn.article_id >= 0, page.place, -1),
                page.expired,
                page.excluded,
            ),
            unweighted=~greedy & ((visits.visit > first_visit) | short | np.isnan(slates.log_normaliser)),
        )
        return Acted(
            now=visits.now,
            row=rows,
            reader=columns["reader"],
            history_id=columns["history_id"],
            history_minutes=columns.get("history_minutes"),
            queries=columns["queries"],
            offset=columns["offset"],
            live=self._live if self._ruled else left,
            served=served,
        )

    def _unfilled(self, shortage: Ints, lists: Ints, page: Page, shown: Bools, num_live: int) -> Ints:
        """Positions that are empty since the draw, by rules or a short shortlist, though enough is live now, (n,)."""
        size = self._slate_size
        empty = np.maximum(min(size, num_live) - np.count_nonzero(shown, axis=1), 0)
        if self._ruled:
            missing = size - np.count_nonzero(page.place >= 0, axis=1)
        else:
            missing = np.maximum(size - (np.count_nonzero(lists >= 0, axis=1) - page.start), 0)
        least: Ints = np.minimum(empty, np.minimum(missing, shortage))
        return least

    def turn(self) -> None:
        """The pages that were last asked for have been shown: the next visits of these readers get the next ones."""
        if self._shown is None:
            return
        rows, end, session, day = self._shown
        self._shown = None
        if day != self._day:
            self._day, self._next = day, np.zeros_like(self._next)
        if len(rows) and (size := int(rows.max()) + 1) > len(self._next):
            self._next, self._session = lengthened(self._next, size), lengthened(self._session, size)
        self._next[rows], self._session[rows] = end, session

    def snapshot(self) -> Arrays:
        """Everything, as plain arrays."""
        arrays = nest("columns", self._columns)
        arrays |= nest("scalars", {name: np.asarray(value) for name, value in self._scalars.items()})
        arrays |= {"hours": np.asarray(self.hours), "before": self._before, "ruled": np.asarray(self._ruled)}
        arrays |= {"slate_size": np.asarray(self._slate_size), "day": np.asarray(self._day)}
        arrays |= {"next": self._next.copy(), "session": self._session.copy()}
        return arrays | {"live": self._live, "place": self._place}

    @classmethod
    def restored(cls, snapshot: Arrays) -> "ListsAhead":
        """The lists of a snapshot."""
        lists = cls.__new__(cls)
        lists.hours, lists._ruled = float(snapshot["hours"]), bool(snapshot["ruled"])
        lists._slate_size, lists._day = int(snapshot["slate_size"]), int(snapshot["day"])
        lists._live, lists._place, lists._before = snapshot["live"], snapshot["place"], snapshot["before"]
        lists._next, lists._session, lists._shown = snapshot["next"].copy(), snapshot["session"].copy(), None
        lists._columns = unnest("columns", snapshot)
        lists._scalars = {name: value.item() for name, value in unnest("scalars", snapshot).items()}
        return lists


def _looked_up(values: AnyArray, rows: Ints, beyond: int) -> Ints:
    """``values[rows]``, int64 (n,); ``beyond`` for rows that there are none of."""
    found: Ints = np.full(len(rows), beyond, dtype=np.int64)
    inside = rows < len(values)
    found[inside] = values[rows[inside]]
    return found


def _as_drawn(columns: Arrays, page: Page) -> Slates:
    """Pages under rules, with the chances of the draw."""
    slot = page.take(columns["slot_propensity"], 1.0)
    return Slates(
        article_id=page.take(columns["article_id"], -1),
        slot_propensity=slot,
        log_propensity=np.log(slot).sum(axis=1),
        explored=columns["explored"],
        in_shortlist=page.take(columns["in_shortlist"], False),
        logit=page.take(columns["logit"], np.nan),
        log_normaliser=columns["log_normaliser"],
    )


def _columns(acted: Acted, *, ruled: bool) -> Arrays:
    """What is kept of readers (n,), by column."""
    served, n = acted.served, len(acted.row)
    count = np.count_nonzero(served.article_id >= 0, axis=1)
    columns: Arrays = {
        "reader": acted.reader,
        "history_id": acted.history_id.astype(np.int32),
        "queries": acted.queries,
        "offset": acted.offset,
        "shortlist": served.draw.shortlist.astype(np.int32),
        "logits": served.draw.logits,
        "epsilon": np.broadcast_to(served.epsilon, n),
        "greedy": np.broadcast_to(served.greedy, n),
        "article_id": served.article_id.astype(np.int32),
        "explored": served.explored,
        # All rows want as many, D or all that is live: their number is known from the sum over the rows.
        "shortage": ((served.num_unfilled + count.sum()) // max(n, 1) - count).astype(np.int32),
    }
    if acted.history_minutes is not None:
        columns["history_minutes"] = acted.history_minutes
    if ruled:
        columns |= {name: getattr(served, name) for name in _RULED}
    return columns


def _joined(parts: Sequence[Arrays]) -> Arrays:
    """The parts' rows one after the other. Shortlists may differ in width."""
    width = max(part["shortlist"].shape[1] for part in parts)
    return {name: np.concatenate([_filled(part, name, width) for part in parts]) for name in sorted(parts[0])}


def _filled(part: Arrays, name: str, width: int) -> AnyArray:
    rows = part[name]
    if name not in ("shortlist", "logits"):
        return rows
    padded = np.full((len(rows), width), -1 if name == "shortlist" else 0.0, dtype=rows.dtype)
    padded[:, : rows.shape[1]] = rows
    return padded
