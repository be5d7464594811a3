"""Slates under editorial rules: both parts of the slate policy, position by position, over what the rules allow there.

What is allowed depends on what stands above only. A visit that does not explore draws position k from the softmax of
its shortlist, over the articles that are not on the slate yet and that the rules allow there, renormalised; one that
explores draws it from all such live articles alike. So the chance of a whole slate under either part is a product, and
that of both is their mixture, as without rules (docs/mathematics.md 2.1). Where the rules allow nothing of the
shortlist at a position that the catalogue could fill, the visit draws it from what is allowed of the rest, all alike:
a share for a topic that retrieval did not bring is kept all the same. Without exploration it stays empty.
Inclusion and slot marginals are unknown: the race of docs/mathematics.md 2.5 knows no such rules.
What the rules look at are categories: live articles of the same categories are one *cell* (editorial/state.py), and the
articles outside the shortlist are a count in each.
Shapes: B visits, M columns of a shortlist (-1 pads), N eligible articles, G cells, K positions.
"""

from __future__ import annotations

import itertools

import numpy as np

from feedgym.agents.editorial import Cells, Rules, Shares, make_caps, make_cells, pinned_articles
from feedgym.agents.slate_policy.draw import Draw
from feedgym.agents.slate_policy.luck import Luck, integers, of_visits, uniform_once
from feedgym.agents.slate_policy.slates import Slates, explores, slots_of_mixture
from feedgym.agents.slate_policy.softmax import columns_in_shortlist, softmax_of
from feedgym.env.arrays import Bools, Doubles, Ints, taken_at
from feedgym.env.feed import Catalogue


class _Part:
    """One way to fill slates: from shortlists, or from all alike. What is still to be had, and what rules allow of it.

    Args:
        rules: of the site.
        cells: of the eligible articles.
        listed: articles that are told apart, (B, M); none for a visit that explores.
        log_listed: logs of what each is drawn in proportion to, (B, M); -inf: never.
        slate_size: K.
        rest: whether all others, alike, are drawn from where no listed article may come, bool (B,).
    """

    def __init__(
        self, rules: Rules, cells: Cells, listed: Ints, log_listed: Doubles, slate_size: int, rest: Bools
    ) -> None:
        num_rows = len(listed)
        self._rules = rules
        self.cells, self.listed, self.log_listed, self._rest = cells, listed, log_listed, rest
        self.pinned = pinned_articles(rules, cells, slate_size)
        self._begin_page()
        self._kind_of_pin = {p.position: (p.column, p.category) for p in rules.pins if p.category is not None}
        self._cell = cells.of(listed)
        standing = self.pinned[self.pinned >= 0]
        # Bool (B, M). A pinned article is not to be had: its place is another.
        self._there = (log_listed > -np.inf) & ~np.isin(listed, standing)
        # Live articles that are neither listed, nor pinned, nor shown yet, by cell, (B, G).
        self._others: Ints = np.tile(cells.size, (num_rows, 1))
        row, column = np.nonzero(listed >= 0)
        np.subtract.at(self._others, (row, self._cell[row, column]), 1)
        for article, cell in zip(standing, cells.of(standing), strict=True):
            self._others[~(listed == article).any(axis=1), cell] -= 1

    def next_page(self) -> None:
        """What is shown stays shown; the rules begin anew. A pinned article stands on the first page alone."""
        self.pinned = np.full_like(self.pinned, -1)
        self._begin_page()

    def _begin_page(self) -> None:
        rules, num_rows = self._rules, len(self.listed)
        self._caps = make_caps(rules, self.cells, self.pinned, num_rows, len(self.pinned))
        self._shares = Shares(rules, self.cells, self.pinned, num_rows) if rules.shares else None

    def log_mass(self, position: int) -> Doubles:
        """Log of what may stand there, (B, M + G): each listed article, then the rest of each cell."""
        allowed = self._allowed(position)
        here = self._there & np.take_along_axis(allowed, self._cell, axis=1)
        others = allowed & (self._rest & ~here.any(axis=1))[:, None]
        with np.errstate(divide="ignore"):
            rest = np.where(others, np.log(self._others), -np.inf)
        return np.concatenate([np.where(here, self.log_listed, -np.inf), rest], axis=1)

    def _allowed(self, position: int) -> Bools:
        """Cells that may come, (B, G)."""
        cells, own = self.cells, self._kind_of_pin.get(position)
        allowed: Bools = np.ones(self._others.shape, dtype=np.bool_)
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
            left = (self._there & within[self._cell]).sum(axis=1)
            left += np.where(self._rest, self._others[:, within].sum(axis=1), 0)
            allowed &= ~((left <= coming.count(kind))[:, None] & within)
        return allowed

    def draw(self, luck: Luck, place: int, log_mass: Doubles, shown: Ints, *, greedy: bool) -> Ints:
        """An article for this place of each visit, (B,), beside those of ``shown`` (B, D); -1 where none may come."""
        width = self.listed.shape[1]
        choice = _choose(luck, place, log_mass, greedy=greedy)
        article_id: Ints = np.full(len(choice), -1, dtype=np.int64)
        b = np.flatnonzero((choice >= 0) & (choice < width))
        article_id[b] = self.listed[b, choice[b]]
        b = np.flatnonzero(choice >= width)
        if len(b):
            name = f"position {place}: other place"
            listed, cell = self.listed[b], choice[b] - width
            article_id[b] = _draw_from_cells(of_visits(luck, b), name, self.cells, cell, listed, shown[b], self.pinned)
        return article_id

    def take(self, position: int, log_mass: Doubles, article_id: Ints) -> Doubles:
        """These articles (B,) stand there now, -1: none. Log of the chance of that, given those above, (B,)."""
        there = np.flatnonzero(article_id >= 0)
        top = log_mass.max(axis=1, initial=-np.inf)
        log_chance: Doubles = np.where((article_id < 0) & (top == -np.inf), 0.0, -np.inf)
        column, cell = columns_in_shortlist(article_id[:, None], self.listed)[:, 0], self.cells.of(article_id[there])
        b = np.flatnonzero(column >= 0)
        log_chance[b] = log_mass[b, column[b]]
        self._there[b, column[b]] = False
        outside = column[there] < 0
        b, other = there[outside], cell[outside]
        # One of those that make up the mass of its cell.
        log_chance[b] = log_mass[b, self.listed.shape[1] + other] - np.log(np.maximum(self._others[b, other], 1))
        self._others[b, other] -= 1
        for cap in self._caps:
            np.add.at(cap.used, (there, cap.value[cell]), 1)
        if self._shares is not None:
            self._shares.take(position, there, cell)
        base = np.where(top > -np.inf, top, 0.0)[there]
        total = base + np.log(np.maximum(np.exp(log_mass[there] - base[:, None]).sum(axis=1), 1e-300))
        log_chance[there] = np.minimum(log_chance[there] - total, 0.0)
        return log_chance


def ruled_slates(
    luck: Luck, rules: Rules, catalogue: Catalogue, draw: Draw, live_ids: Ints, *, pages: int = 1
) -> Slates:
    """Slates that keep the rules, with the exact chance of each position given those above it.

    Args:
        luck: of the B visits.
        rules: of the site; what it excludes has to be gone already.
        catalogue: whose categories the rules look at.
        draw: from eligible articles. Where all of it is greedy: the best allowed by logit at each position (of equals
            the smaller id), propensity 1.
        live_ids: int64 (N,), eligible articles, N >= 1.
        pages: of a list: each has its part of the draw's ``slate_size`` and keeps the rules, and no article stands on
            two of them. A pinned article stands on the first.

    Returns:
        Of a pinned article ``slot_propensity`` is 1 and ``logit`` NaN: it was not drawn. An empty position has article
        -1.

    Raises:
        ValueError: rules that slates of K positions cannot keep.
    """
    listed, slate_size, greedy = draw.shortlist, draw.slate_size, draw.all_greedy
    page_size = slate_size // pages
    rules.check(page_size)
    num_rows, cells = len(draw), make_cells(rules, catalogue, live_ids)
    if greedy:
        scores = np.where(listed >= 0, draw.logits, -np.inf)
        order = np.lexsort((listed, -scores), axis=1)
        draw = Draw(
            np.take_along_axis(draw.logits, order, axis=1),
            np.take_along_axis(listed, order, axis=1),
            draw.num_live,
            draw.epsilon,
            slate_size,
            draw.greedy,
        )
        listed, log_listed = draw.shortlist, np.take_along_axis(scores, order, axis=1)
        parts = [_Part(rules, cells, listed, log_listed, page_size, np.zeros(num_rows, dtype=np.bool_))]
        explored: Bools = np.zeros(num_rows, dtype=np.bool_)
    else:
        softmax, explored = softmax_of(draw), explores(luck, draw)
        rest: Bools = softmax.log_explore > -np.inf
        nobody = listed[:, :0]
        parts = [
            _Part(rules, cells, listed, softmax.log_p, page_size, rest),
            _Part(rules, cells, nobody, np.zeros(nobody.shape), page_size, np.ones(num_rows, dtype=np.bool_)),
        ]

    article_id: Ints = np.full((num_rows, slate_size), -1, dtype=np.int64)
    log_slots = np.zeros((len(parts), num_rows, slate_size))
    pinned = np.concatenate([parts[0].pinned, np.full(slate_size - page_size, -1, dtype=np.int64)])
    for place in range(slate_size):
        k = place % page_size
        if place and k == 0:
            for part in parts:
                part.next_page()
        if pinned[place] >= 0:
            article_id[:, place] = pinned[place]
            continue
        mass = [part.log_mass(k) for part in parts]
        for part, log_mass, rows in zip(parts, mass, (~explored, explored), strict=False):
            drawn = part.draw(luck, place, np.where(rows[:, None], log_mass, -np.inf), article_id, greedy=greedy)
            article_id[rows, place] = drawn[rows]
        for i, part in enumerate(parts):
            log_slots[i, :, place] = part.take(k, mass[i], article_id[:, place])

    column = columns_in_shortlist(article_id, listed)
    logit = taken_at(draw.logits, np.where(pinned < 0, column, -1), np.nan)
    if greedy:
        log_slot, log_propensity = np.zeros(article_id.shape), np.zeros(num_rows)
        log_normaliser = np.full(num_rows, np.nan)
    else:
        products = log_slots.cumsum(axis=2)
        log_slot, log_propensity = slots_of_mixture(softmax.log_keep, products[0], softmax.log_explore, products[1])
        log_normaliser = softmax.log_normaliser
    return Slates(article_id, np.exp(log_slot), log_propensity, explored, column >= 0, logit, log_normaliser)


def _choose(luck: Luck, place: int, log_mass: Doubles, *, greedy: bool) -> Ints:
    """A column of each row, drawn in proportion to mass or the best; -1 where it has none."""
    top = log_mass.max(axis=1)
    some = top > -np.inf
    best = np.where(some, top, 0.0)
    if greedy:
        return np.where(some, np.argmax(log_mass, axis=1), -1)
    # Beside the best that is allowed: whatever the temperature, something does not underflow.
    upto = np.exp(log_mass - best[:, None]).cumsum(axis=1)
    total = upto[:, -1]
    # Strictly below the total, also after rounding: what has no mass is never the first beyond.
    part = uniform_once(luck, f"position {place}", len(total))
    point = np.minimum(part * total, np.nextafter(total, 0.0))
    choice: Ints = np.where(some, np.argmax(upto > point[:, None], axis=1), -1)
    return choice


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
