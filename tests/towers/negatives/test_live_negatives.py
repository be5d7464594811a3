"""Rows of different moments: nothing is compared that was not live then, and log q is that of what is left."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.towers.negatives import (
    NEGATIVES,
    Hard,
    InBatch,
    Memory,
    Mixed,
    NegativeContext,
    Negatives,
    NegativeSampler,
    Popularity,
    Uniform,
    make_negatives,
    while_live,
)
from feedgym.towers.negatives.types import Bools, Doubles, Ints
from helpers.towers import Draws, minimise, multinomial, together

# In six hours; 0 is there throughout and takes what the others leave, 6 lives at the very time of one row.
SINCE = np.array([-5.0, -2.0, 1.0, 2.5, -1.0, 0.0, 4.0])
UNTIL = np.array([np.inf, 3.0, np.inf, 4.0, 1.5, 5.0, 4.5])
SHARE = np.array([0.0, 0.15, 0.1, 0.2, 0.1, 0.15, 0.05])
HOURS = np.array([0.0, 0.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
IDS = np.arange(7)
ROWS = len(HOURS)


def shares_at(now: float) -> Doubles:
    """Of clicks at ``now``: an article takes the same share as long as it lives."""
    share: Doubles = np.where((now >= SINCE) & (now < UNTIL), SHARE, 0.0)
    share[0] = 1.0 - share.sum()
    return share


def clicks_at(hours: Doubles, rng: np.random.Generator) -> NegativeContext:
    """A batch of clicks at these hours."""
    positive = np.array([rng.choice(IDS, p=shares_at(now)) for now in hours])
    shortlists = np.array([rng.choice(IDS, 3, replace=False) for _ in hours])
    own = np.array([shares_at(now)[i] for now, i in zip(hours, positive, strict=True)])
    order = rng.permutation(IDS)
    return NegativeContext(
        positive_ids=positive,
        positive_log_q=np.log(own),
        live_ids=order,
        live_share=SHARE[order] + 0.2 * (order == 0),
        row_hours=hours,
        live_since=SINCE[order],
        live_until=UNTIL[order],
        shortlist_ids=shortlists,
        impressed_ids=shortlists,
        seen_ids=shortlists[:, :2],
    )


def random_batch(rng: np.random.Generator) -> NegativeContext:
    """Any lives, any hours, any order; clicks are on what was live, shortlists hold anything."""
    articles, rows = int(rng.integers(5, 40)), int(rng.integers(2, 12))
    hours = np.sort(rng.uniform(0, 10, rows))
    since = rng.uniform(-5, 10, articles)
    until = since + rng.exponential(3.0, articles) * rng.choice([1.0, np.inf], articles, p=[0.8, 0.2])
    since[0], until[0] = -1.0, 11.0  # something is there at any time
    ids = np.sort(rng.choice(100, articles, replace=False))
    positive = np.array([rng.choice(ids[(since <= now) & (now < until)]) for now in hours])
    order = rng.permutation(articles)
    shown = rng.choice(np.append(ids, -1), (rows, 4))
    return NegativeContext(
        positive_ids=positive,
        positive_log_q=np.log(rng.uniform(0.01, 0.5, rows)),
        live_ids=ids[order],
        live_share=rng.uniform(0.001, 1.0 / articles, articles),
        row_hours=hours,
        live_since=since[order],
        live_until=until[order],
        shortlist_ids=shown,
        impressed_ids=shown,
        seen_ids=shown[:, :2],
    )


def columns_of(batch: NegativeContext, negatives: Negatives) -> list[list[int]]:
    """What each row's positive competes with, plainly."""
    rows = []
    for i in range(batch.batch_size):
        shared = [int(a) for j, a in enumerate(batch.positive_ids) if j != i] if negatives.in_batch else []
        first = batch.batch_size if negatives.in_batch else 0
        places = [j for j in range(batch.batch_size) if j != i] if negatives.in_batch else []
        places += [first + j for j in range(len(negatives.shared_ids))]
        shared += negatives.shared_ids.tolist()
        mask = np.ones(first + len(negatives.shared_ids), dtype=bool) if negatives.mask is None else negatives.mask[i]
        kept = [a for a, place in zip(shared, places, strict=True) if mask[place]]
        rows.append(kept + [a for a in negatives.row_ids[i].tolist() if a >= 0])
    return rows


def count_strangers(batch: NegativeContext, negatives: Negatives) -> int:
    """Columns that were not live at the row's time."""
    assert batch.row_hours is not None
    assert batch.live_since is not None
    assert batch.live_until is not None
    life = dict(zip(batch.live_ids.tolist(), zip(batch.live_since, batch.live_until, strict=True), strict=True))
    found = 0
    for now, columns in zip(batch.row_hours, columns_of(batch, negatives), strict=True):
        found += sum(not life[a][0] <= now < life[a][1] for a in columns)
    return found


SETTINGS = {"uniform": {"count": 7}, "mixed": {"count": 7}, "popularity": {"count": 7}, "memory": {"capacity": 40}}
SETTINGS |= {"hard": {"count": 3, "uniform_count": 5}, "own": {"count": 3}}


@pytest.mark.parametrize("name", NEGATIVES)
def test_no_column_is_an_article_that_was_not_live_at_the_rows_time(name: str) -> None:
    rng = np.random.default_rng(11)
    sampler = make_negatives(name, **SETTINGS.get(name, {}))
    strangers, compared = 0, 0
    for _ in range(150):
        batch = random_batch(rng)
        drawn = sampler.draw(batch, rng)
        left = while_live(batch, drawn)
        assert count_strangers(batch, left) == 0
        strangers += count_strangers(batch, drawn)
        # What was live stays: all of it, but for rows that are out altogether, and their clicks.
        out = np.isneginf(drawn.log_q_positive)
        before, after = columns_of(batch, drawn), columns_of(batch, left)
        for i in np.flatnonzero(~out):
            live = set(batch.live_ids[batch.at_rows(batch.live_ids)[i]].tolist()) - set(
                batch.positive_ids[out].tolist()
            )
            assert [a for a in before[i] if a in live] == [a for a in after[i] if a in live]
        assert all(after[i] == [] for i in np.flatnonzero(out))
        assert np.isfinite(left.log_q_positive).all()
        compared += sum(len(columns) for columns in after)
    # The check can fail; those of a row's own are drawn of what was live.
    assert strangers == 0 if name == "own" else strangers > 100
    assert compared > 1000


def test_without_hours_nothing_is_taken_away() -> None:
    rng = np.random.default_rng(0)
    batch = clicks_at(HOURS, rng)
    flat = replace(batch, row_hours=None, live_since=None, live_until=None, live_share=batch.live_share / 2)
    negatives = Mixed(count=4).draw(flat, rng)
    assert while_live(flat, negatives) is negatives
    assert negatives.mask is None
    np.testing.assert_array_equal(flat.num_others(IDS), ROWS - 1.0)


COUNTED: dict[str, Callable[[], NegativeSampler]] = {
    "in_batch": InBatch,
    "uniform": lambda: Uniform(count=5),
    "mixed": lambda: Mixed(count=5),
    "popularity": lambda: Popularity(count=5, alpha=0.6),
    "hard": lambda: Hard(count=3, uniform_count=3),
    "memory": lambda: Memory(capacity=3 * ROWS),
}


@dataclass
class Counted:
    """Of each row (8) and article (7)."""

    mean: Doubles
    error: Doubles
    claimed: Doubles
    """NaN where it never was a column."""

    def agrees(self, claimed: Doubles, checked: Bools) -> bool:
        return bool((np.abs(self.mean - claimed) <= 4.5 * self.error + 1e-12)[checked].all())


def count(make: Callable[[], NegativeSampler], draws: int) -> Counted:
    rng = np.random.default_rng(5)
    table, claimed = np.zeros((draws, ROWS, len(IDS))), np.full((ROWS, len(IDS)), np.nan)
    shortlists = clicks_at(HOURS, rng).shortlist_ids
    for n in range(draws):
        sampler = make()
        if isinstance(sampler, Memory):
            for shift in (-1.0, 1.5):  # what it remembers is of other hours
                sampler.draw(clicks_at(HOURS + shift, rng), rng)
        batch = replace(clicks_at(HOURS, rng), shortlist_ids=shortlists)
        left = while_live(batch, sampler.draw(batch, rng))
        for i, columns in enumerate(columns_of(batch, left)):
            np.add.at(table[n, i], columns, 1.0)
            # An article's log q is one, wherever it stands in a row.
            if left.mask is not None and left.in_batch:
                seen = left.mask[i, :ROWS]
                claimed[i, batch.positive_ids[seen]] = np.exp(left.log_q_positive[seen])
            if left.mask is not None and len(left.shared_ids):
                seen = left.mask[i, ROWS if left.in_batch else 0 :]
                claimed[i, left.shared_ids[seen]] = np.exp(left.log_q_shared[seen])
            seen = left.row_ids[i] >= 0
            claimed[i, left.row_ids[i][seen]] = np.exp(left.log_q_row[i][seen])
    return Counted(table.mean(axis=0), table.std(axis=0) / np.sqrt(draws), claimed)


@pytest.mark.parametrize("name", COUNTED)
def test_log_q_is_the_log_of_what_is_left(name: str) -> None:
    counted = count(COUNTED[name], 600)
    live = np.array([(now >= SINCE) & (now < UNTIL) for now in HOURS])
    assert (counted.mean[~live] == 0).all()
    # Article 0 takes what the others leave, another share at each hour; 6 has no other row but in a sampler's draws.
    checked = live & (IDS > 0) & ~np.isnan(counted.claimed)
    assert checked.sum() > 20
    assert counted.agrees(counted.claimed, checked)
    assert not counted.agrees(counted.claimed * 1.5, checked)
    if name in ("in_batch", "mixed", "memory"):
        # As if every article had been live at all rows' times: what the textbook takes off.
        rows = live.sum(axis=0) - 1
        textbook = counted.claimed + (ROWS - 1 - rows) * SHARE
        assert not counted.agrees(textbook, checked)


def test_a_click_that_nothing_can_be_compared_with_is_left_out() -> None:
    batch = clicks_at(HOURS, np.random.default_rng(0))
    batch.positive_ids[:] = 0
    batch.positive_ids[6] = 6  # live at no other row's time
    drawn = InBatch().draw(batch, np.random.default_rng(0))
    assert np.isneginf(drawn.log_q_positive).tolist() == [False] * 6 + [True, False]
    left = while_live(batch, drawn)
    assert [len(columns) for columns in columns_of(batch, left)] == [6] * 6 + [0, 6]
    mixed = while_live(batch, Mixed(count=30).draw(batch, np.random.default_rng(0)))
    assert mixed.log_q_positive[6] == pytest.approx(np.log(30 / 7))  # uniform draws can


# The optimum: two moments, articles 0 and 1 live at both, 2 at the first and 3 at the second.
LIVE: Ints = np.array([[0, 1, 2], [0, 1, 3]])
CLICKS = torch.tensor([0.3, 0.3, 0.4, 0.4], dtype=torch.float64)  # share of an article while it lives
TASTE = torch.tensor([1.0, 3.0, 0.5, 1.5], dtype=torch.float64)  # of one reader among many


def masked(moment: int, values: Tensor) -> Tensor:
    keep = torch.zeros(4, dtype=torch.float64)
    keep[torch.from_numpy(LIVE[moment])] = 1.0
    return values * keep


def log_q_of(sampler: NegativeSampler, rows: int) -> Tensor:
    """Of the four articles, by the shipped sampler: ``rows`` clicks at each of two moments."""
    hours = np.repeat([0.0, 1.0], rows)
    log_q = np.full(4, np.nan)
    for first in range(3):
        positive = np.concatenate([np.roll(LIVE[0], -first)[np.arange(rows) % 3], LIVE[1][np.arange(rows) % 3]])
        positive[rows:] = np.roll(LIVE[1], -first)[np.arange(rows) % 3]
        context = NegativeContext(
            positive_ids=positive,
            positive_log_q=CLICKS.log().numpy()[positive],
            live_ids=np.arange(4),
            live_share=CLICKS.numpy(),
            row_hours=hours,
            live_since=np.array([-1.0, -1.0, -1.0, 0.5]),
            live_until=np.array([np.inf, np.inf, 0.5, np.inf]),
        )
        log_q[positive] = sampler.draw(context, np.random.default_rng(0)).log_q_positive
    return torch.from_numpy(log_q)


def worst_error(draws: tuple[Draws, Draws], log_q: Tensor) -> float:
    """Of the optimum against the log of the reader's chances, over both moments."""
    truth = (CLICKS * TASTE).log()

    def loss(scores: Tensor) -> Tensor:
        total = scores.sum() ** 2
        for moment, (counts, chance) in enumerate(draws):
            p = masked(moment, CLICKS * TASTE)
            p = p / p.sum()
            columns = masked(moment, counts)[:, None, :] + torch.eye(4, dtype=torch.float64)  # (n, 4 own, 4)
            logits = scores - log_q
            rows = torch.logsumexp(logits + columns.log(), dim=2) - logits
            total = total + (chance[:, None] * p * rows).sum()
        return total

    scores = minimise(loss, (4,))
    off = scores - truth
    return float((off - off.mean()).abs().max())


def in_batch_draws(rows: int) -> tuple[Draws, Draws]:
    """The other clicks as each moment's row meets them, with what is not live then still among them."""
    shares = [masked(moment, CLICKS) for moment in (0, 1)]
    return tuple(together(multinomial(rows - 1, shares[m]), multinomial(rows, shares[1 - m])) for m in (0, 1))  # type: ignore[return-value]


def test_the_optimum_is_log_p_among_what_is_live() -> None:
    errors = [worst_error(in_batch_draws(rows), log_q_of(InBatch(), rows)) for rows in (2, 4, 8)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02  # counts are fixed at each moment, as in `Mixed`: gone at the size of real batches
    textbook = torch.log(15 * CLICKS)
    assert worst_error(in_batch_draws(8), textbook) > 0.3
    uniform = multinomial(2, torch.full((4,), 0.25, dtype=torch.float64))
    assert worst_error((uniform, uniform), log_q_of(Uniform(count=2), 3)) < 1e-6


def test_bad_hours_are_named() -> None:
    batch = clicks_at(HOURS, np.random.default_rng(0))
    for changed, message in (
        ({"row_hours": np.zeros(3)}, r"row_hours: got \(3,\)"),
        ({"live_since": None}, "live_since: got None"),
        ({"live_until": np.zeros(2)}, r"live_until: got \(2,\)"),
        ({"row_hours": None, "live_share": batch.live_share / 2}, r"live_since: got \(7,\), needs .* else None"),
        ({"live_share": np.full(7, 1.5)}, "live_share: got 'least .*, most 1.5'"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(batch, **changed)
