"""What a visit shows of a list that was drawn ahead, and how likely that was (docs/mathematics.md 2.7).

A list is one draw of the slate policy, several slates deep. A visit shows the next K of it that are live and allowed;
what is not is passed over. Of a Plackett-Luce order, and of a uniform one, what is left of it when some articles are
taken out is an order of the same kind over the others. So a page is a draw of the slate policy from what is left: the
shortlist and the live articles of the draw, less what has gone since, less what stands above the page on the list;
epsilon is then the chance that the list is a uniform one, given what stands above. Of the first page that is epsilon
itself, and its chances are those of a slate drawn at the visit.
Under rules that look at the whole slate, pages are shown as they were drawn, with empty positions: what comes up from
below might break a rule.
Shapes: n visits, D articles of a list (-1 pads), M shortlist, K positions.
"""

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from feedgym.agents.slate_policy import Draw, Slates, columns_in_shortlist, explored_share, prefix_chances
from feedgym.env.arrays import AnyArray, Bools, Doubles, Ints, taken_at

_Slates = TypeVar("_Slates", bound=Slates)


@dataclass(frozen=True)
class Page:
    """Which places of their lists n visits show, and where the next page begins."""

    place: Ints
    """Of each position, (n, K), rising; -1: there is nothing."""
    start: Ints
    """Places above the page, (n,)."""
    end: Ints
    """Where the next page begins, (n,); D where the list is at its end."""
    expired: Ints
    """Places passed over because their article has expired since the draw, (n,)."""
    excluded: Ints
    """Because a rule excludes it by now, though it is live, (n,)."""

    def take(self, values: AnyArray, nothing: float) -> AnyArray:
        """What stands at these places of (n, D), (n, K); ``nothing`` where there is none."""
        return taken_at(values, self.place, nothing)


def next_pages(lists: Ints, start: Ints, is_live: Bools, is_allowed: Bools, slate_size: int, *, filled: bool) -> Page:
    """The next pages of lists.

    Args:
        lists: (n, D); -1 pads.
        start: places that are behind the reader, (n,).
        is_live: whether each article is live, (n, D).
        is_allowed: whether no rule excludes it, (n, D).
        slate_size: K.
        filled: pass over what is gone; else the page is the next K places, gone or not.
    """
    depth = lists.shape[1]
    places: Ints = np.arange(depth)
    ahead = (places >= start[:, None]) & (lists >= 0)
    wanted = ahead & is_live & is_allowed if filled else ahead & (places < start[:, None] + slate_size)
    chosen = wanted & (np.cumsum(wanted, axis=1) <= slate_size)
    # Chosen ones first, in their order. A stable sort of bools is a radix sort: linear.
    place: Ints = np.argsort(~chosen, axis=1, kind="stable")[:, :slate_size]
    count = np.count_nonzero(chosen, axis=1)
    last = np.take_along_axis(place, np.maximum(count - 1, 0)[:, None], axis=1)[:, 0]
    end = np.where(count == slate_size, last + 1, depth) if filled else np.minimum(start + slate_size, depth)
    if filled:
        place = np.where(np.arange(place.shape[1]) < count[:, None], place, -1)
    else:
        # At its own position, whatever is missing above it.
        place = start[:, None] + np.arange(slate_size)
        inside = place < depth
        place = np.where(inside & np.take_along_axis(chosen, np.minimum(place, depth - 1), axis=1), place, -1)
    passed = ahead & (places < end[:, None])
    expired, excluded = (np.count_nonzero(passed & gone, axis=1) for gone in (~is_live, is_live & ~is_allowed))
    return Page(place, start, end, expired, excluded)


def list_columns(draw: Draw, lists: Ints, page: Page) -> Ints:
    """Where the shortlists hold what stands on the lists as far down as some page, (n, D); -1: nowhere, or below."""
    column: Ints = np.full(lists.shape, -1, dtype=np.int64)
    width = int(page.end.max(initial=0))
    column[:, :width] = columns_in_shortlist(lists[:, :width], draw.shortlist)
    return column


def page_draw(
    draw: Draw, lists: Ints, column: Ints, page: Page, is_left: Bools, num_left: int, lists_left: Bools
) -> Draw:
    """What pages are drawn from: what lists were, less what has gone since, less what stands above.

    Args:
        draw: of the lists.
        lists: (n, D).
        column: of :func:`list_columns`, (n, D).
        page: where they begin.
        is_left: whether articles of the shortlist are live and allowed, (n, M).
        num_left: how many of the articles that were live at the draw are live and allowed.
        lists_left: whether articles of the lists are, (n, D).
    """
    left = is_left & (draw.shortlist >= 0)
    above = np.arange(lists.shape[1]) < page.start[:, None]
    row, place = np.nonzero(above & (column >= 0))
    left[row, column[row, place]] = False
    return Draw(
        draw.logits,
        np.where(left, draw.shortlist, -1),
        num_left - np.count_nonzero(above & lists_left & (lists >= 0), axis=1),
        # Of nothing nobody draws: then exploration alone can show an article.
        np.where(left.any(axis=1), draw.epsilon, 1.0),
        slate_size=page.place.shape[1],
        greedy=draw.greedy,
    )


def page_slates(draw: Draw, lists: Ints, column: Ints, explored: Bools, page: Page, rest: Draw) -> Slates:
    """Pages with their chances, given what stands above them on their lists.

    Args:
        draw: of the lists.
        lists: (n, D).
        column: of :func:`list_columns`, (n, D).
        explored: which lists are uniform, (n,).
        page: which places are shown.
        rest: what they are drawn from, see :func:`page_draw`.
    """
    article_id, at = page.take(lists, -1), page.take(column, -1)
    shown, greedy = article_id >= 0, np.broadcast_to(draw.greedy, len(lists))
    epsilon: Doubles = np.array(np.broadcast_to(draw.epsilon, len(lists)), dtype=np.float64)
    later = np.flatnonzero((page.start > 0) & (page.start < lists.shape[1]) & ~greedy)
    if len(later):
        start = page.start[later]
        width = int(start.max()) + 1
        share = explored_share(lists[later, :width], column[later, :width], draw.rows(later))
        epsilon[later] = share[np.arange(len(later)), start]
    log_slot, log_normaliser = prefix_chances(article_id, at, rest, epsilon)
    log_slot = np.where(shown & ~greedy[:, None], log_slot, 0.0)
    drawn = ~greedy & np.isfinite(log_normaliser)
    return Slates(
        article_id=article_id,
        slot_propensity=np.exp(log_slot),
        log_propensity=log_slot.sum(axis=1),
        explored=explored & ~greedy,
        in_shortlist=at >= 0,
        logit=taken_at(rest.logits, at, np.nan),
        log_normaliser=np.where(drawn, log_normaliser, np.nan),
    )


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
