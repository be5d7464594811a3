"""Batch: lists drawn ahead, shown page by page until the next draw; unknown readers; what has expired since."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.serving import serving
from feedgym.agents.serving.lists_ahead import ListsAhead
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, ReaderModel
from helpers.driving import drive, ticks
from helpers.resuming import check_resuming

NEWSROOM = NewsroomConfig(articles_per_day=90, max_age_hours=20.0)
SITE = FeedConfig(num_readers=150, days=3.0, tick_hours=0.5, slate_size=4, newsroom=NEWSROOM)
SMALL: dict[str, Any] = {"widths": (8,), "dim": 4, "max_steps": 2, "shortlist_size": 12, "serving": "batch"}
PAGE = ("article_id", "slot_propensity", "log_propensity", "explored", "in_shortlist", "logit", "log_normaliser")


def start(
    name: str = "regression", site: FeedConfig = SITE, readers: ReaderModel | None = None, **settings: Any
) -> tuple[Any, Feed]:
    feed = Feed(site, readers, seed=4)
    # As soft as shipped agents are not: some of what was drawn shall expire before it is shown, and no chance be 1.
    return make_agent(name, **(SMALL | {"sharpness": 1.0} | settings)).start(feed), feed


@pytest.mark.parametrize(
    ("every", "lag", "name", "depth"),
    [(24.0, 0.0, "regression", 3), (12.0, 3.0, "regression", 2), (12.0, 0.0, "reinforce", 5), (36.0, 0.0, "direct", 4)],
)
def test_a_reader_goes_down_her_list_until_the_next_draw_and_a_stranger_down_everybodys(
    every: float, lag: float, name: str, depth: int
) -> None:
    """Everything is written down by hand: who was known when, what her list was, how far down she is, what has gone."""
    agent, feed = start(
        name, reader_refresh_hours=every, item_refresh_hours=every, feature_lag_hours=lag, list_depth=depth
    )
    size, first_hours = SITE.slate_size, dict[int, float]()
    lists: dict[int, list[int]] = {}
    start_of: dict[tuple[float, int, int], int] = {}
    first: dict[tuple[float, int], int] = {}
    count = dict.fromkeys(("further", "strangers", "expired", "empty", "again", "minutes", "visits"), 0)
    for served, acted in ticks(agent, feed):
        made, day, visits = feed.now // every * every, int(feed.now // 24), feed.visits
        live = set(feed.catalogue.article_id.tolist())
        if feed.now == made:
            at_draw = live
            stored = agent.serving.ahead.snapshot()
            lists = {-1: stored["columns/article_id"][-1].tolist()}
            for row, place in enumerate(stored["place"].tolist()):
                if place >= 0:
                    lists[row] = stored["columns/article_id"][place].tolist()
        assert served.as_drawn.article_id is served.ahead.drawn.article_id
        assert (served.ahead.made_hours == made).all()
        assert set(acted.live.tolist()) == live & at_draw
        ids = served.log_columns(visits.reader_id)
        count["minutes"] += round(60 * (feed.now - made)) * len(visits)
        for i, row in enumerate(visits.rows.tolist()):
            is_known = first_hours.get(row, np.inf) < made - lag
            assert bool(np.broadcast_to(served.greedy, len(visits))[i]) == (not is_known)
            drawn = lists[row if is_known else -1]
            assert len(drawn) == depth * size
            # From the top on each new day, and of each new list.
            at = begin = start_of.get((made, day, row), 0)
            page: list[int] = []
            while len(page) < size and at < len(drawn):
                page += [at] if drawn[at] in live else []
                at += 1
            start_of[made, day, row] = at
            assert served.article_id[i].tolist() == [drawn[p] for p in page] + [-1] * (size - len(page))
            assert ids["list_position"][i].tolist() == page + [-1] * (size - len(page))
            passed = [p for p in range(begin, at) if p not in page]
            assert (ids["num_skipped_expired"][i], ids["num_skipped_excluded"][i]) == (len(passed), 0)
            assert served.log_propensity[i] < 0 if is_known and page else served.log_propensity[i] == 0
            assert np.log(served.slot_propensity[i]).sum() == pytest.approx(served.log_propensity[i], abs=1e-9)
            visit = first.setdefault((made, row), int(visits.visit[i]))
            assert ids["slate_id"][i] == (int(visits.reader_id[i]) << 20) + visit
            left = (live & at_draw) - set(drawn[:begin])
            short = len(page) < min(size, len(left))
            short |= served.shortlist_size[i] == 0
            assert bool(served.unweighted[i]) == (is_known and (visit != visits.visit[i] or short))
            count["again"] += begin == 0 and visit != visits.visit[i]
            count["further"] += begin > 0
            count["strangers"] += not is_known
            count["expired"] += len(passed)
            count["empty"] += size - len(page)
            count["visits"] += 1
            first_hours.setdefault(row, feed.now)
        assert served.num_unfilled == 0
    assert min(count["further"], count["strangers"], count["expired"]) > 15
    assert (count["again"] > 0) == (every > 24)
    cost = agent.serving.cost
    told = (cost.visits, cost.expired, cost.excluded, cost.empty, cost.age_minutes)
    assert told == (count["visits"], count["expired"], 0, count["empty"], count["minutes"])
    assert feed.invalid_entries == count["empty"] > 0


def test_a_list_at_its_end_shows_nothing_and_a_strict_feed_refuses_it() -> None:
    agent, feed = start(reader_refresh_hours=24.0, list_depth=1)
    for served, outcome in drive(agent, feed):
        absent = served.article_id < 0
        assert not outcome.clicks[absent].any()
        assert not outcome.dwell_minutes[absent].any()
    assert feed.invalid_entries > 15
    strict = FeedConfig(**{**SITE.__dict__, "strict": True})
    with pytest.raises(ValueError, match="-1"):
        drive(*start(site=strict, list_depth=1))


@pytest.mark.parametrize("depth", [0, -1])
def test_a_list_is_at_least_a_slate_deep(depth: Any) -> None:
    with pytest.raises(ValueError, match=f"list_depth: got {depth}, needs a whole number >= 1"):
        make_agent("regression", serving="batch", list_depth=depth)


def test_deeper_lists_begin_as_shallow_ones_do() -> None:
    """One race for the whole list: its first page is the page of a list one slate deep, from as long a shortlist."""
    agent, feed = start(list_depth=3)
    drive(agent, feed, until=24.0)
    agent.act(feed.visits, feed.catalogue)
    (known,) = agent.serving.known_readers(feed.records, feed.now)
    shallow, deep = (
        dataclasses.replace(agent.drawer, pages=pages).draw(known, feed.catalogue, 1).served for pages in (1, 3)
    )
    assert shallow.article_id.shape[1] == 4
    kept = ~deep.explored
    np.testing.assert_array_equal(deep.article_id[kept, :4], shallow.article_id[kept])
    np.testing.assert_array_equal(deep.explored, shallow.explored)
    assert (~kept).sum() > 2
    assert all(len(set(row)) == 12 for row in deep.article_id.tolist())


SESSIONS = NewsReaderConfig(continuation=0.8, page_gap_hours=0.5, gap_median_hours=5.0)


def test_a_session_goes_on_down_and_a_new_one_starts_at_the_top() -> None:
    agent, feed = start(readers=NewsReader(SESSIONS), list_depth=3)
    before: dict[int, tuple[int, int, float]] = {}
    shown: dict[tuple[int, int, float], set[int]] = {}
    further = anew = midnight = 0
    for served, _ in ticks(agent, feed):
        visits, made = feed.visits, feed.now // 24 * 24
        assert visits.session is not None
        for i, row in enumerate(visits.rows.tolist()):
            session, last = int(visits.session[i]), int(served.ahead.place[i].max())
            ids = set(served.article_id[i].tolist()) - {-1}
            same = row in before and before[row][0] == session
            if same and before[row][2] == made:
                assert served.ahead.place[i][0] == -1 or served.ahead.place[i][0] > before[row][1]
                assert not ids & shown[row, session, made]
                further += 1
            elif ids:
                # From the top, past what has gone.
                first = np.flatnonzero(agent.store.are_live(np.array(list_of(agent, row))))[0]
                assert served.ahead.place[i][0] == first
                anew, midnight = anew + (row in before and before[row][2] == made), midnight + same
            shown.setdefault((row, session, made), set()).update(ids)
            before[row] = (session, last if last >= 0 else 10**6, made)
    assert min(further, anew) > 100
    assert midnight > 2


def list_of(agent: Any, row: int) -> list[int]:
    """The list that this reader goes down."""
    stored = agent.serving.ahead.snapshot()
    place = stored["place"][row] if row < len(stored["place"]) else -1
    ids: list[int] = stored["columns/article_id"][place].tolist()
    return ids


@pytest.mark.parametrize("rules", [None, "cap(topic,1)+exclude(age_hours>15)"])
def test_resumes_in_the_middle_of_a_list(rules: str | None) -> None:
    """Readers who are on page two go on there: equal bytes from a snapshot at hour 31."""
    resumed = check_resuming(lambda: start(readers=NewsReader(SESSIONS), rules=rules, train_every_hours=8.0), at=31.0)
    further = sum(int((s.ahead.place[:, 0] > 0).sum()) for s, _ in resumed.rest if s.ahead is not None)
    assert further > 5


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
    _ = [s for s, a in ticks(agent, feed, until=29.0)]
    while len(feed.visits) < 2:
        drive(agent, feed, until=feed.now + 0.1)
    np.savez(tmp_path / "ahead.npz", **agent.serving.ahead.snapshot())
    again = ListsAhead.restored(dict(np.load(tmp_path / "ahead.npz", allow_pickle=False)))

    def everything(ids: Any) -> Any:
        return ids >= 0

    asked = (feed.visits, len(feed.catalogue), everything, everything)
    one, two = agent.serving.ahead.pages(*asked), again.pages(*asked)
    for name in (*PAGE, "inclusion", "slot_marginal", "inclusion_time", "shortlist_size", "epsilon", "greedy"):
        np.testing.assert_array_equal(getattr(one.served, name), getattr(two.served, name))
    assert (one.served.log_columns(one.row)["list_position"] >= -1).all()
    np.testing.assert_array_equal(
        one.served.log_columns(one.row)["list_position"], two.served.log_columns(two.row)["list_position"]
    )
    for name in ("row", "reader", "history_id", "queries", "offset", "live"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert (one.served.num_live, one.served.policy_version) == (two.served.num_live, two.served.policy_version)
