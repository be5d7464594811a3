"""Batch: slates drawn ahead, reused until the next draw; unknown readers; what has expired since."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.serving import serving
from feedgym.agents.serving.slates_ahead import SlatesAhead, without_expired
from feedgym.agents.slate_policy.slates import Slates
from feedgym.env import Feed, FeedConfig, NewsroomConfig
from helpers.driving import drive, ticks

NEWSROOM = NewsroomConfig(articles_per_day=90, max_age_hours=20.0)
SITE = FeedConfig(num_readers=150, days=3.0, tick_hours=0.5, slate_size=4, newsroom=NEWSROOM)
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12, "serving": "batch"}
DRAWN = ("article_id", "slot_propensity", "log_propensity", "in_shortlist", "logit", "log_weight")


def start(name: str = "regression", site: FeedConfig = SITE, **settings: Any) -> tuple[Any, Feed]:
    feed = Feed(site, seed=4)
    return make_agent(name, **(SMALL | settings)).start(feed), feed


@pytest.mark.parametrize(
    ("every", "lag", "name"), [(24.0, 0.0, "regression"), (12.0, 3.0, "regression"), (12.0, 0.0, "reinforce")]
)
def test_a_reader_keeps_her_slate_until_the_next_draw_and_a_stranger_gets_everybody_elses(
    every: float, lag: float, name: str
) -> None:
    """Everything is written down by hand: who was known when, what she got first, what has gone since."""
    agent, feed = start(name, reader_refresh_hours=every, item_refresh_hours=every, feature_lag_hours=lag)
    first_hours: dict[int, float] = {}
    first: dict[tuple[float, int], Any] = {}
    repeated = strangers = gone = empty = 0
    for served, _ in ticks(agent, feed):
        made, visits, live = feed.now // every * every, feed.visits, set(feed.catalogue.article_id.tolist())
        if feed.now == made:
            num_live = len(live)
        drawn = served.as_drawn
        assert served.num_live == num_live
        assert drawn.article_id is served.ahead.drawn.article_id
        assert (served.ahead.made_hours == made).all()
        ids = drawn.log_columns(visits.reader_id)
        for i, row in enumerate(visits.rows.tolist()):
            is_known = first_hours.get(row, np.inf) < made - lag
            # Who first came since the draw, or too late for it, has a place among all those.
            key = (made, row if is_known else -1)
            slate = tuple(getattr(drawn, field)[i].tobytes() for field in DRAWN[:5])
            assert slate == first.setdefault(key, slate)
            assert bool(np.broadcast_to(served.greedy, len(visits))[i]) == (not is_known)
            assert served.log_propensity[i] < 0 if is_known else served.log_propensity[i] == 0
            assert np.log(drawn.slot_propensity[i]).sum() == pytest.approx(served.log_propensity[i], abs=1e-9)
            visit = first.setdefault((made, row, "visit"), int(visits.visit[i]))  # type: ignore[arg-type]
            assert ids["slate_id"][i] == (int(visits.reader_id[i]) << 20) + visit
            repeated += visit != visits.visit[i]
            strangers += not is_known
            left = [a if a in live else -1 for a in drawn.article_id[i].tolist()]
            assert served.article_id[i].tolist() == left
            gone += sum(a != b for a, b in zip(left, drawn.article_id[i].tolist(), strict=True))
            first_hours.setdefault(row, feed.now)
        empty += int((served.article_id < 0).sum())
        assert served.num_unfilled == 0
    assert min(repeated, strangers, gone) > 15
    assert (agent.serving.cost.expired, feed.invalid_entries) == (gone, empty)
    assert gone == empty
    draws = {key[0] for key in first if len(key) == 2}
    assert agent.serving.cost.slates >= len([k for k in first if len(k) == 2])
    assert len(draws) == 72 / every


def test_what_has_expired_earns_nothing_and_a_strict_feed_refuses_it() -> None:
    agent, feed = start(reader_refresh_hours=24.0)
    for served, outcome in drive(agent, feed):
        absent = served.article_id < 0
        assert not outcome.clicks[absent].any()
        assert not outcome.dwell_minutes[absent].any()
    assert feed.invalid_entries > 15
    strict = FeedConfig(**{**SITE.__dict__, "strict": True})
    with pytest.raises(ValueError, match="-1"):
        drive(*start(site=strict))


def test_entries_taken_out_leave_the_rest_as_it_was() -> None:
    drawn = Slates(
        article_id=np.array([[5, 6, 7], [8, 9, -1]]),
        slot_propensity=np.array([[0.5, 0.4, 0.3], [0.2, 0.1, 1.0]]),
        log_propensity=np.log([0.06, 0.02]),
        in_shortlist=np.array([[True, False, True], [True, True, False]]),
        logit=np.array([[1.0, np.nan, 0.5], [0.0, 0.1, np.nan]]),
        log_weight=np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, -np.inf]]),
    )
    live = np.array([[True, False, True], [False, True, False]])
    left = without_expired(drawn, live)
    assert left.article_id.tolist() == [[5, -1, 7], [-1, 9, -1]]
    assert left.slot_propensity.tolist() == [[0.5, 1.0, 0.3], [1.0, 0.1, 1.0]]
    assert left.log_propensity.tolist() == drawn.log_propensity.tolist()  # of the slate as drawn
    assert left.in_shortlist.tolist() == [[True, False, True], [False, True, False]]
    np.testing.assert_array_equal(left.logit, [[1.0, np.nan, 0.5], [np.nan, 0.1, np.nan]])
    assert left.log_weight.tolist() == [[-1.0, -np.inf, -3.0], [-np.inf, -5.0, -np.inf]]
    assert drawn.article_id.tolist() == [[5, 6, 7], [8, 9, -1]]
    assert without_expired(left, np.ones((2, 3), dtype=bool)) is left


@pytest.mark.parametrize(
    "settings",
    [
        {"train_every_hours": 1e6, "item_refresh_hours": 0.0, "reader_refresh_hours": 33.0},
        {"train_every_hours": 5.0, "item_refresh_hours": 0.0, "reader_refresh_hours": 30.0, "age_in_item_tower": True},
        {"train_every_hours": 9.0, "item_refresh_hours": 20.0, "reader_refresh_hours": 8.0},
    ],
)
@pytest.mark.parametrize("name", ["regression", "reinforce"])
def test_queries_kept_go_with_the_vectors_kept_until_the_next_draw(name: str, settings: dict[str, Any]) -> None:
    """Whoever ranks or learns from a slate hours later finds the logits that it was drawn from."""
    # Articles that live for more than a day: past the hour at which the age columns would be referred to another.
    site = FeedConfig(**{**SITE.__dict__, "newsroom": NewsroomConfig(articles_per_day=60, max_age_hours=60.0)})
    agent, feed = start(name, site, epsilon=0.3, **settings)
    with torch.no_grad():
        for p in agent.model.parameters():  # before a training age does not matter
            p.add_(0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    every = settings["reader_refresh_hours"]
    late = hidden = 0
    found: set[int] = set()
    for _, acted in ticks(agent, feed):
        if feed.now % every == 0:
            found = set(agent.store.index.ids.tolist())
        if len(acted.row) == 0:
            continue
        live = feed.catalogue.article_id
        column = {int(a): j for j, a in enumerate(live)}
        scores = agent.score_all(feed.visits, feed.catalogue)
        # What came since, and what was held back at the draw: no slate can have it.
        assert np.isneginf(scores).all(axis=0).tolist() == [a not in found for a in live.tolist()]
        hidden += int(np.isneginf(scores[0]).sum())
        for i, row in enumerate(acted.served.draw.shortlist.tolist()):
            there = [(column[a], m) for m, a in enumerate(row) if a in column]
            mine = [scores[i, j] - acted.offset[i] for j, _ in there]
            np.testing.assert_allclose(mine, [acted.served.draw.logits[i, m] for _, m in there], atol=2e-4)
            late += len(there) * (feed.now % every > 3)
    assert late > 500
    assert hidden > 100


def test_a_draw_in_blocks_is_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same shortlists, logits and greedy slates; what is drawn from them is the same policy."""

    def drawn(block: int, **settings: Any) -> tuple[dict[str, np.ndarray], Any]:
        monkeypatch.setattr(serving, "BLOCK", block)
        agent, feed = start(train_every_hours=1e6, **settings)
        drive(agent, feed, until=24.0)
        agent.act(feed.visits, feed.catalogue)
        assert len(agent.serving.ahead) > 40
        return agent.serving.ahead.snapshot(), agent

    whole, parts = (drawn(block, greedy=True)[0] for block in (4096, 7))
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(parts[name], values, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(parts[name], values, err_msg=name)
    whole, parts = (drawn(block)[0] for block in (4096, 7))
    np.testing.assert_allclose(parts["columns/logits"], whole["columns/logits"], atol=1e-4)
    # A reader's luck is her own: the blocks do not change it.
    np.testing.assert_array_equal(parts["columns/article_id"], whole["columns/article_id"])


def test_a_known_reader_takes_two_kilobytes() -> None:
    site = FeedConfig(num_readers=400, days=1.5, slate_size=10, newsroom=NewsroomConfig(articles_per_day=400))
    agent, feed = start(site=site, shortlist_size=100, widths=(16,), dim=16)
    drive(agent, feed, until=24.5)
    ahead = agent.serving.ahead
    columns = {name: values for name, values in ahead.snapshot().items() if name.startswith("columns/")}
    assert all(len(values) == len(ahead) + 1 for values in columns.values())
    each = sum(values.nbytes for values in columns.values()) / (len(ahead) + 1)
    assert len(ahead) > 150
    assert 1500 < each < 2500


def test_a_snapshot_serves_the_same(tmp_path: Any) -> None:
    agent, feed = start(rules="cap(topic,1)")
    served = [(s, a) for s, a in ticks(agent, feed, until=27.0) if len(a.row) > 1][-1]
    np.savez(tmp_path / "ahead.npz", **agent.serving.ahead.snapshot())
    again = SlatesAhead.restored(dict(np.load(tmp_path / "ahead.npz", allow_pickle=False)))
    rows, now = served[1].row, feed.now
    one, two = agent.serving.ahead.of(rows, now), again.of(rows, now)
    for name in (*DRAWN, "inclusion", "slot_marginal", "inclusion_time", "shortlist_size", "epsilon", "greedy"):
        np.testing.assert_array_equal(getattr(one.served, name), getattr(two.served, name))
    for name in ("row", "reader", "history_id", "queries", "offset", "live"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.served.num_live, one.served.policy_version) == (two.served.num_live, two.served.policy_version)
