"""Slates under editorial rules: the slate policy's draw weights, position by position, over what the rules allow there.

Position k is drawn from the weights ``w`` (draw_weights.py) of the articles that are not on the slate yet and that the
rules allow there, renormalised: what is allowed depends on what stands above only, so that ``q_k = w_k / sum of the
allowed`` is exact, and their product is the chance of the slate. Inclusion and slot marginals are not: the race of
docs/mathematics.md 2.5 knows no such rules.
What the rules look at are categories: live articles of the same categories are one *cell* (rule_state.py), and the
articles outside the shortlist, which share one weight, are a count in each.
Shapes: B visits, M columns of a shortlist (-1 pads), N eligible articles, G cells, K positions.
"""

from __future__ import annotations

import itertools

import numpy as np

from feedgym.agents.editorial import Cells, Rules, Shares, make_caps, make_cells, pinned_articles
from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.draw_weights import columns_in_shortlist, draw_weights
from feedgym.agents.slate_policy.luck import Luck, integers, of_visits, uniforms
from feedgym.agents.slate_policy.slates import Slates
from feedgym.env.arrays import Bools, Doubles, Ints
from feedgym.env.feed import Catalogue

_ONCE: Ints = np.zeros((1, 1), dtype=np.int64)
"""The key of a draw that a visit has one of."""


class _Left:
    """What is still to be had of the shortlists and of the rest, and what rules allow of it."""

    def __init__(
        self, rules: Rules, cells: Cells, listed: Ints, log_listed: Doubles, log_tail: Doubles, slate_size: int
    ) -> None:
        num_rows = len(listed)
        self.cells, self.listed, self.log_listed, self.log_tail = cells, listed, log_listed, log_tail
        self.pinned = pinned_articles(rules, cells, slate_size)
        self._caps = make_caps(rules, cells, self.pinned, num_rows, slate_size)
        self._shares = Shares(rules, cells, self.pinned, num_rows) if rules.shares else None
        self._kind_of_pin = {p.position: (p.column, p.category) for p in rules.pins if p.category is not None}
        self._cell = cells.of(listed)
        standing = self.pinned[self.pinned >= 0]
        # Bool (B, M). A pinned article is not to be had: its place is another.
        self._there = (log_listed > -np.inf) & ~np.isin(listed, standing)
        self._in_tail: Ints = np.zeros((num_rows, len(cells.size)), dtype=np.int64)
        if (log_tail > -np.inf).any():
            self._in_tail += cells.size
            row, column = np.nonzero(listed >= 0)
            np.subtract.at(self._in_tail, (row, self._cell[row, column]), 1)
            for article, cell in zip(standing, cells.of(standing), strict=True):
                self._in_tail[~(listed == article).any(axis=1), cell] -= 1

    def log_mass(self, position: int) -> Doubles:
        """Log weight of what may stand there, (B, M + G): each listed article, then the rest of each cell."""
        allowed = self._allowed(position)
        here = self._there & np.take_along_axis(allowed, self._cell, axis=1)
        with np.errstate(divide="ignore"):
            tail = np.where(allowed, self.log_tail[:, None] + np.log(self._in_tail), -np.inf)
        return np.concatenate([np.where(here, self.log_listed, -np.inf), tail], axis=1)

    def _allowed(self, position: int) -> Bools:
        """Cells that may come, (B, G)."""
        cells, own = self.cells, self._kind_of_pin.get(position)
        allowed: Bools = np.ones(self._in_tail.shape, dtype=np.bool_)
        for cap in self._caps:
            allowed &= ~cap.full(position)
        if own is not None:
            allowed &= cells.within(*own)
        elif self._shares is not None:
            allowed &= self._shares.allowed(position)
        coming = [kind for at, kind in self._kind_of_pin.items() if at > position]
        for kind in set(coming) - {own}:
            # The last ones of a category wait for the positions that are kept for it.
            within = cells.within(*kind)
            left = (self._there & within[self._cell]).sum(axis=1) + self._in_tail[:, within].sum(axis=1)
            allowed &= ~((left <= coming.count(kind))[:, None] & within)
        return allowed

    def take_listed(self, rows: Ints, column: Ints) -> Ints:
        """The listed articles in these columns, (b,), are gone."""
        self._there[rows, column] = False
        return self.listed[rows, column]

    def take_tail(self, luck: Luck, position: int, rows: Ints, cell: Ints, shown: Ints) -> Ints:
        """An article of each cell (b,) from outside the shortlist, where ``shown`` (b, K) stands already."""
        self._in_tail[rows, cell] -= 1
        name = f"position {position}: tail place"
        return _draw_from_cells(of_visits(luck, rows), name, self.cells, cell, self.listed[rows], shown, self.pinned)

    def count(self, position: int, rows: Ints, article_id: Ints) -> None:
        """Slates ``rows`` (b,) show these articles (b,) at a position that was drawn."""
        cell = self.cells.of(article_id)
        for cap in self._caps:
            np.add.at(cap.used, (rows, cap.value[cell]), 1)
        if self._shares is not None:
            self._shares.take(position, rows, cell)


def ruled_slates(luck: Luck, rules: Rules, catalogue: Catalogue, draw: Draw, live_ids: Ints) -> Slates:
    """Slates that keep the rules, with the exact chance of each position given those above it.

    Args:
        luck: of the B visits.
        rules: of the site; what it excludes has to be gone already.
        catalogue: whose categories the rules look at.
        draw: from eligible articles. Where all of it is greedy: the best allowed by logit at each position (of equals
            the smaller id), propensity 1.
        live_ids: int64 (N,), eligible articles, N >= 1.

    Returns:
        Of a pinned article ``slot_propensity`` is 1, ``logit`` and ``log_weight`` are NaN: it was not drawn. An
        empty position has article -1 and propensity 1.

    Raises:
        ValueError: rules that slates of K positions cannot keep.
    """
    scores, listed, slate_size, greedy = draw.logits, draw.shortlist, draw.slate_size, draw.all_greedy
    rules.check(slate_size)
    num_rows, width = listed.shape
    if greedy:
        order = np.lexsort((listed, -np.where(listed >= 0, scores, -np.inf)), axis=1)
        scores, listed = np.take_along_axis(scores, order, axis=1), np.take_along_axis(listed, order, axis=1)
        log_listed, log_tail = np.where(listed >= 0, scores, -np.inf), np.full(num_rows, -np.inf)
    else:
        weights = draw_weights(draw)
        log_listed, log_tail = weights.log_listed, weights.log_tail
    left = _Left(rules, make_cells(rules, catalogue, live_ids), listed, log_listed, log_tail, slate_size)

    article_id: Ints = np.full((num_rows, slate_size), -1, dtype=np.int64)
    log_slot, logit = np.zeros(article_id.shape), np.full(article_id.shape, np.nan)
    log_weight = np.full(article_id.shape, -np.inf)
    for k in range(slate_size):
        if left.pinned[k] >= 0:
            article_id[:, k], log_weight[:, k] = left.pinned[k], np.nan
            continue
        choice, log_total = _choose(luck, k, left.log_mass(k), greedy=greedy)
        b = np.flatnonzero((choice >= 0) & (choice < width))
        m = choice[b]
        article_id[b, k] = left.take_listed(b, m)
        logit[b, k], log_weight[b, k] = scores[b, m], log_listed[b, m]
        b = np.flatnonzero(choice >= width)
        if len(b):
            article_id[b, k] = left.take_tail(luck, k, b, choice[b] - width, article_id[b])
            log_weight[b, k] = log_tail[b]
        b = np.flatnonzero(choice >= 0)
        log_slot[b, k] = 0.0 if greedy else np.minimum(log_weight[b, k] - log_total[b], 0.0)
        left.count(k, b, article_id[b, k])
    if greedy:
        log_weight[article_id >= 0] = np.nan
    in_shortlist = columns_in_shortlist(article_id, listed) >= 0
    return Slates(article_id, np.exp(log_slot), log_slot.sum(axis=1), in_shortlist, logit, log_weight)


def _choose(luck: Luck, position: int, log_mass: Doubles, *, greedy: bool) -> tuple[Ints, Doubles]:
    """A column of each row, drawn in proportion to mass or the best, and the row's log mass; -1 where it has none."""
    top = log_mass.max(axis=1)
    some = top > -np.inf
    best = np.where(some, top, 0.0)
    if greedy:
        return np.where(some, np.argmax(log_mass, axis=1), -1), best
    # Beside the best that is allowed: whatever the temperature, something does not underflow.
    upto = np.exp(log_mass - best[:, None]).cumsum(axis=1)
    total = upto[:, -1]
    # Strictly below the total, also after rounding: what has no mass is never the first beyond.
    part = uniforms(luck, f"position {position}", _ONCE, len(total))[:, 0]
    point = np.minimum(part * total, np.nextafter(total, 0.0))
    choice: Ints = np.where(some, np.argmax(upto > point[:, None], axis=1), -1)
    return choice, best + np.log(np.where(some, total, 1.0))


def _draw_from_cells(luck: Luck, name: str, cells: Cells, cell: Ints, listed: Ints, shown: Ints, pinned: Ints) -> Ints:
    """One article of each row's cell (t,), uniform over those neither listed (t, M), nor shown (t, K), nor pinned.

    Drawn from all of the cell, and again where that one is not to be had: at most M + K of a cell are not.
    """
    drawn: Ints = np.full(len(cell), -1, dtype=np.int64)
    still = np.arange(len(cell))
    for attempt in itertools.count():
        if len(still) == 0:
            break
        g = cell[still]
        wanted = np.ones((len(still), 1), dtype=np.bool_)
        place = integers(of_visits(luck, still), f"{name} {attempt}", cells.size[g], wanted)
        found = cells.by_cell[cells.start[g] + place]
        gone = (listed[still] == found[:, None]).any(axis=1) | (shown[still] == found[:, None]).any(axis=1)
        gone |= np.isin(found, pinned)
        drawn[still] = found
        still = still[gone]
    return drawn
