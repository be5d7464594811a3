"""Samplers of negatives: each log q against counting, what may be drawn, state, and what is refused."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from feedgym.towers.negatives import (
    NEGATIVES,
    Hard,
    Memory,
    Mixed,
    NegativeContext,
    Negatives,
    NegativeSampler,
    Own,
    Popularity,
    Uniform,
    check_combination,
    make_negatives,
)
from feedgym.towers.negatives.types import Doubles, Ints

# Unsorted on purpose; 3 is never clicked (but it is live), 50 has expired and is still clicked in the replay.
LIVE = np.array([7, 3, 20, 11, 5, 16, 2, 9], dtype=np.int64)
SHARE = np.array([0.30, 0.0, 0.15, 0.20, 0.05, 0.03, 0.02, 0.10])
EXPIRED, EXPIRED_SHARE = 50, 0.15
ALL, Q = np.append(LIVE, EXPIRED), np.append(SHARE, EXPIRED_SHARE)
ROWS = 6
SHORTLISTS = np.array(
    [[7, 20, 3, -1], [3, 5, EXPIRED, 9], [-1, -1, -1, -1], [2, 2, 7, -1], [11, 16, 2, 9], [EXPIRED, -1, -1, -1]]
)
SAMPLERS: dict[str, Callable[[], NegativeSampler]] = {
    "in_batch": lambda: make_negatives("in_batch"),
    "uniform": lambda: Uniform(count=5),
    "mixed": lambda: Mixed(count=5),
    "popularity": lambda: Popularity(count=5, alpha=0.6),
    "flat_popularity": lambda: Popularity(count=5, alpha=0.0),
    "hard": lambda: Hard(count=3, uniform_count=2),
}


def context(rng: np.random.Generator, rows: int = ROWS, share: Doubles = Q, live: Ints = LIVE) -> NegativeContext:
    """A batch of independent clicks, each article by its share."""
    drawn = rng.choice(len(ALL), size=rows, p=share)
    is_live = np.isin(ALL, live)
    return NegativeContext(
        positive_ids=ALL[drawn],
        positive_log_q=np.log(share[drawn]),
        live_ids=ALL[is_live],
        live_share=share[is_live],
        shortlist_ids=SHORTLISTS[:rows],
        impressed_ids=SHORTLISTS[:rows],
        seen_ids=SHORTLISTS[:rows],
    )


def count_columns(batch: NegativeContext, negatives: Negatives) -> Doubles:
    """How often each of ``ALL`` stands among a row's columns, its own positive left out: (rows, 9)."""
    shared = (negatives.shared_ids[:, None] == ALL).sum(axis=0)
    own = (negatives.row_ids[:, :, None] == ALL).sum(axis=1)
    positives = batch.positive_ids[:, None] == ALL
    others = positives.sum(axis=0) - positives if negatives.in_batch else 0
    return (shared + own + others).astype(np.float64)


def read_claims(batch: NegativeContext, negatives: Negatives, claims: Doubles) -> None:
    """Enter the counts that log q claims into ``claims`` (rows, 9); an article's claims in a row must agree."""
    rows = len(batch.positive_ids)
    both = [
        (np.broadcast_to(batch.positive_ids[:, None], (rows, 1)), negatives.log_q_positive[:, None]),
        (np.broadcast_to(negatives.shared_ids, (rows, len(negatives.shared_ids))), negatives.log_q_shared[None]),
        (negatives.row_ids, negatives.log_q_row),
    ]
    for ids, log_q in both:
        row, column = np.nonzero(ids >= 0)
        article = np.argmax(ids[row, column][:, None] == ALL, axis=1)
        claimed = np.exp(np.broadcast_to(log_q, ids.shape)[row, column])
        known = claims[row, article]
        np.testing.assert_allclose(claimed, np.where(np.isnan(known), claimed, known), rtol=1e-12)
        claims[row, article] = claimed


def count_many(make: Callable[[], NegativeSampler], draws: int = 2000) -> tuple[Doubles, Doubles, Doubles]:
    """Mean counts, their standard errors, and the claims, (rows, 9) each."""
    rng = np.random.default_rng(3)
    sampler = make()
    counts, claims = [], np.full((ROWS, len(ALL)), np.nan)
    for _ in range(draws):
        batch = context(rng)
        negatives = sampler.draw(batch, rng)
        counts.append(count_columns(batch, negatives))
        read_claims(batch, negatives, claims)
    table = np.stack(counts)
    return table.mean(axis=0), table.std(axis=0) / np.sqrt(draws), claims


def agrees(mean: Doubles, error: Doubles, claims: Doubles) -> bool:
    """Whether all claims lie within 4.5 standard errors of what was counted (54 comparisons)."""
    checked = ~np.isnan(claims) & (mean > 0)
    assert checked.sum() > 40
    return bool((np.abs(mean - claims) <= 4.5 * error)[checked].all())


@pytest.mark.parametrize("name", SAMPLERS)
def test_log_q_is_the_log_of_what_is_counted(name: str) -> None:
    mean, error, claims = count_many(SAMPLERS[name])
    assert agrees(mean, error, claims)
    live = claims[:, :-1]
    possible = ~np.isnan(live) if name == "in_batch" else np.full(live.shape, True)
    assert (mean[:, :-1] > 0)[possible].all()  # every live article has a chance in every row ...
    if name != "in_batch":
        assert not np.isnan(live).any()
    if name not in ("in_batch", "mixed"):
        assert (mean[:, -1] == 0).all()  # ... and an expired one has none
    assert not agrees(mean, error, claims * 1.1)  # the check can fail
    if name not in ("uniform", "flat_popularity"):
        assert not agrees(mean, error, np.nanmean(mean) * np.ones_like(claims))


def test_popularity_draws_by_the_power_of_the_share() -> None:
    batch = context(np.random.default_rng(0))
    drawn = Popularity(count=40_000, alpha=0.5).draw(batch, np.random.default_rng(1)).shared_ids

    def p_value(alpha: float) -> float:
        chance = np.maximum(SHARE, 0.01 / len(LIVE)) ** alpha
        return float(stats.chisquare((drawn[:, None] == LIVE).sum(axis=0), 40_000 * chance / chance.sum()).pvalue)

    assert p_value(0.5) > 1e-3
    assert p_value(0.55) < 1e-3


def test_alpha_zero_is_uniform_and_alpha_one_the_click_frequency() -> None:
    batch = context(np.random.default_rng(0))
    flat = Popularity(count=9, alpha=0.0).draw(batch, np.random.default_rng(1))
    uniform = Uniform(count=9).draw(batch, np.random.default_rng(1))
    np.testing.assert_allclose(flat.log_q_positive, uniform.log_q_positive, rtol=1e-12)
    np.testing.assert_allclose(flat.log_q_shared, uniform.log_q_shared, rtol=1e-12)
    by_clicks = Popularity(count=9, alpha=1.0, floor=1e-9).draw(batch, np.random.default_rng(1))
    share = batch.share_of(by_clicks.shared_ids) / SHARE.sum()
    np.testing.assert_allclose(by_clicks.log_q_shared, np.log(9 * share), rtol=1e-6)


SHARES = (Q, np.roll(Q, 3), np.array([0.1, 0.2, 0.1, 0.05, 0.05, 0.1, 0.2, 0.1, 0.1]))
SIZES = (4, 5, 6)


def count_memory(draws: int) -> tuple[Doubles, Doubles, Doubles]:
    """As ``count_many``, for the third of three batches with different shares; article 7 expires before it."""
    rng = np.random.default_rng(8)
    counts, claims = [], np.full((ROWS, len(ALL)), np.nan)
    for _ in range(draws):
        memory = Memory(capacity=20)
        for share, size in zip(SHARES[:2], SIZES[:2], strict=True):
            memory.draw(context(rng, size, share, ALL), rng)
        batch = context(rng, SIZES[2], SHARES[2], ALL[ALL != 7])
        negatives = memory.draw(batch, rng)
        assert not (negatives.shared_ids == 7).any()
        counts.append(count_columns(batch, negatives))
        read_claims(batch, negatives, claims)
    table = np.stack(counts)
    return table.mean(axis=0), table.std(axis=0) / np.sqrt(draws), claims


def test_memory_counts_each_batch_by_the_shares_of_its_time() -> None:
    mean, error, claims = count_memory(1500)
    assert not np.isnan(claims).any()
    assert agrees(mean, error, claims)
    expected = 5 * SHARES[2] + (ALL != 7) * (4 * SHARES[0] + 5 * SHARES[1])
    np.testing.assert_allclose(claims, np.tile(expected, (ROWS, 1)))
    assert not agrees(mean, error, np.tile(14 * SHARES[2], (ROWS, 1)))  # today's shares for all of it


def test_memory_forgets_the_oldest_batch_first() -> None:
    rng = np.random.default_rng(0)
    memory = Memory(capacity=13)  # two batches of six
    batches = [context(rng, live=ALL) for _ in range(4)]
    recalled = [memory.draw(batch, rng).shared_ids for batch in batches]
    assert [len(ids) for ids in recalled] == [0, 6, 12, 12]
    np.testing.assert_array_equal(recalled[3], np.concatenate([b.positive_ids for b in batches[1:3]]))


def test_memory_resumes_byte_for_byte_and_keeps_copies() -> None:
    rng = np.random.default_rng(0)
    first, second = Memory(capacity=13), Memory(capacity=99)
    for _ in range(3):
        first.draw(context(rng), rng)
    state = first.snapshot()
    assert all(array.dtype != object for array in state.values())
    second.restore(state)
    for array in state.values():
        array[...] = 0  # what the caller does to a snapshot afterwards is its own affair
    last = None
    for _ in range(3):
        batch = context(rng, live=ALL)
        one, other = first.draw(batch, rng), second.draw(batch, rng)
        assert one.shared_ids.tobytes() == other.shared_ids.tobytes()
        assert one.log_q_positive.tobytes() == other.log_q_positive.tobytes()
        assert one.log_q_shared.tobytes() == other.log_q_shared.tobytes()
        if last is not None:
            np.testing.assert_array_equal(one.shared_ids[-ROWS:], last)
        last = batch.positive_ids.copy()
        batch.positive_ids[:] = 2  # a buffer that is used again
    assert second.capacity == 13
    empty = Memory(capacity=13)
    second.restore(empty.snapshot())
    assert len(second.draw(context(rng), rng).shared_ids) == 0


@pytest.mark.parametrize("name", [*SAMPLERS, "memory"])
def test_only_live_articles_are_drawn_and_the_seed_decides(name: str) -> None:
    make = SAMPLERS.get(name, lambda: Memory(capacity=20))
    drawn = []
    for _ in range(2):
        rng, sampler = np.random.default_rng(5), make()
        results = [sampler.draw(context(rng), rng) for _ in range(50)]
        drawn.append(np.concatenate([np.append(r.shared_ids, r.row_ids) for r in results]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert set(drawn[0].tolist()) <= {*LIVE.tolist(), -1}


def test_hard_draws_from_the_rows_own_shortlist() -> None:
    rng = np.random.default_rng(0)
    negatives = Hard(count=200, uniform_count=3).draw(context(rng), rng)
    hard, uniform = negatives.row_ids[:, :200], negatives.row_ids[:, 200:]
    seen = [set(row.tolist()) for row in hard]
    assert seen == [{7, 20, 3}, {3, 5, 9}, {-1}, {2, 7}, {11, 16, 2, 9}, {-1}]
    assert (uniform == uniform[0]).all()
    assert (negatives.log_q_row[[2, 5], :200] == 0).all()
    doubled = negatives.log_q_row[3, :200][hard[3] == 2]  # twice in its shortlist of three
    np.testing.assert_allclose(doubled, np.log(200 * 2 / 3 + 3 / 8))


def test_impressed_has_no_log_q_and_is_refused_as_softmax_columns() -> None:
    rng = np.random.default_rng(0)
    sampler = make_negatives("impressed")
    negatives = sampler.draw(context(rng), rng)
    np.testing.assert_array_equal(negatives.row_ids, SHORTLISTS)
    assert not negatives.corrected
    assert not negatives.in_batch
    for loss in ("in_batch_softmax", "in_batch_softmax_loss", "softmax", "sampled_softmax_loss", "full_softmax"):
        with pytest.raises(ValueError, match=r"loss_name: got '.*softmax.*', needs one of .*slate_softmax.*no log q"):
            check_combination(sampler, loss)
        check_combination(Mixed(), loss)
    for loss in ("bpr", "bpr_loss", "slate_bpr", "slate_softmax_loss", "bce"):
        check_combination(sampler, loss)


def test_own_are_uniform_over_what_each_reader_has_not_clicked() -> None:
    """Of each row by chi-square; the control is who may be drawn at all."""
    rng = np.random.default_rng(4)
    batch = context(rng)
    drawn = Own(count=4000).draw(batch, rng)
    assert drawn.row_ids.shape == (ROWS, 4000)
    assert len(drawn.shared_ids) == 0
    for row, seen in enumerate(SHORTLISTS):
        left = np.setdiff1d(LIVE, [*seen, batch.positive_ids[row]])
        counts = np.array([(drawn.row_ids[row] == article).sum() for article in left])
        assert counts.sum() == (drawn.row_ids[row] >= 0).sum() > 3900  # eight draws rarely fail
        assert stats.chisquare(counts).pvalue > 1e-3
    # Who knows all there is goes without.
    everything = np.tile(LIVE, (ROWS, 1))
    object.__setattr__(batch, "seen_ids", everything)
    assert (Own(count=2).draw(batch, rng).row_ids == -1).all()


def test_own_were_live_at_their_row_s_time() -> None:
    batch = NegativeContext(
        positive_ids=np.array([1, 2, 3]),
        positive_log_q=np.zeros(3),
        live_ids=np.arange(9),
        live_share=np.zeros(9),
        row_hours=np.array([5.0, 1.0, 3.0]),
        live_since=np.array([0.0] * 5 + [2.0, 2.0, 4.0, 3.0]),
        live_until=np.array([9.0] * 4 + [2.5] + [9.0] * 4),
        seen_ids=np.full((3, 1), -1),
    )
    drawn = Own(count=300).draw(batch, np.random.default_rng(0)).row_ids
    assert [set(row.tolist()) - {-1} for row in drawn] == [{0, 2, 3, 5, 6, 7, 8}, {0, 1, 3, 4}, {0, 1, 2, 5, 6, 8}]


def test_registry_makes_every_sampler_and_they_say_what_they_need() -> None:
    rng = np.random.default_rng(0)
    for name in NEGATIVES:
        sampler = make_negatives(name)
        negatives = sampler.draw(context(rng), rng)
        assert negatives.corrected == sampler.corrected == (name not in ("impressed", "own"))
        assert negatives.row_ids.shape == negatives.log_q_row.shape
        assert negatives.shared_ids.shape == negatives.log_q_shared.shape
        assert negatives.row_ids.dtype == negatives.shared_ids.dtype == np.int64
        assert negatives.log_q_positive.dtype == np.float64
        for need in ("shortlist_ids", "impressed_ids", "seen_ids"):
            batch = context(rng)
            object.__setattr__(batch, need, None)
            if need in sampler.needs:
                with pytest.raises(ValueError, match=f"{need}: got None"):
                    sampler.draw(batch, rng)
            else:
                sampler.draw(batch, rng)


@pytest.mark.parametrize("name", ["uniform", "mixed", "popularity", "hard", "own"])
def test_an_empty_catalogue_is_refused(name: str) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=f"live_ids: got 'no article', needs .* {name}"):
        make_negatives(name).draw(context(rng, live=np.empty(0, dtype=np.int64)), rng)


def test_bad_input_is_named() -> None:
    rng = np.random.default_rng(0)
    for call, message in (
        (lambda: make_negatives("nearest"), "name: got 'nearest', needs one of in_batch, uniform"),
        (lambda: make_negatives("mixed", size=3), r"settings of 'mixed': got \['size'\], needs some of count"),
        (lambda: make_negatives("in_batch", count=3), "it has no settings"),
        (lambda: make_negatives("uniform", count=0), "count: got 0"),
        (lambda: make_negatives("popularity", alpha=-1.0), "alpha: got -1.0"),
        (lambda: make_negatives("popularity", floor=0.0), "floor: got 0.0"),
        (lambda: make_negatives("hard", uniform_count=0), "uniform_count: got 0"),
        (lambda: make_negatives("memory", capacity=0), "capacity: got 0"),
        (lambda: Memory(capacity=5).draw(context(rng), rng), "positive_ids: got '6 rows', needs at most .* 5"),
        (lambda: make_negatives("in_batch").draw(context(rng, 1), rng), "positive_ids: got 'one row'"),
        (lambda: NegativeContext(**_fields(live_ids=np.array([7, 7]))), "live_ids: got"),
        (lambda: NegativeContext(**_fields(live_ids=np.array([7, -1]))), "live_ids: got 'a negative id'"),
        (lambda: NegativeContext(**_fields(live_share=np.array([0.9, 0.9]))), "live_share: got 'least 0, sum 1.8'"),
        (lambda: NegativeContext(**_fields(live_share=np.ones(3))), r"live_share: got \(3,\)"),
        (lambda: NegativeContext(**_fields(positive_log_q=np.array([-np.inf]))), "positive_log_q: got"),
        (lambda: NegativeContext(**_fields(shortlist_ids=np.ones((2, 3), dtype=np.int64))), "shortlist_ids: got"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def _fields(**changed: np.ndarray) -> dict[str, np.ndarray]:
    valid = {
        "positive_ids": np.array([7]),
        "positive_log_q": np.array([-1.0]),
        "live_ids": np.array([7, 8]),
        "live_share": np.array([0.5, 0.5]),
    }
    return valid | changed
