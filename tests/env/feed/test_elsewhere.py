"""Opens from elsewhere: how many, by which channel, the same for all agents, what they leave alone.

The example is that of docs/guide/worlds.md, the channels are those of docs/mathematics/worlds.md.
"""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env import WORLDS, Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig, OrganicConfig
from feedgym.env.config import CHANNELS, Channel, ModuleConfig, RewardConfig
from feedgym.env.feed.elsewhere import poisson_cdf
from feedgym.env.feed.visits import Opens
from feedgym.env.readers import Expecting
from helpers.check_reader import Good
from helpers.walking import differing, walk

K = 5
ORGANIC = OrganicConfig(share=0.5, reference_opens_per_day=2.0)
SITE = FeedConfig(
    num_readers=150, newcomers_per_day=0.1, days=4.0, slate_size=K, newsroom=NewsroomConfig(articles_per_day=80.0)
)
EAGER = NewsReaderConfig(base_log_odds=0.5, gap_median_hours=4.0, leaving_per_day=0.05)


def site(organic: OrganicConfig = ORGANIC, seed: int = 5, model: Any = None, **changes: Any) -> Feed:
    config = dataclasses.replace(SITE, organic=organic, **changes)
    return Feed(config, NewsReader(EAGER) if model is None else model, seed)


def newest(feed: Feed) -> Any:
    return np.tile(np.sort(feed.catalogue.article_id)[::-1][: feed.config.slate_size], (len(feed.visits), 1))


def nothing(feed: Feed) -> Any:
    return np.full((len(feed.visits), feed.config.slate_size), -1)


@dataclasses.dataclass
class Life:
    """What happened on a site."""

    opens: list[Opens]
    clicks: int = 0
    visits: int = 0
    reward: float = 0.0

    def column(self, name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in self.opens] or [np.zeros(0)])

    def whole(self) -> set[tuple[int, ...]]:
        """Who opened what, when, how."""
        names = ("reader_id", "number", "article_id", "channel")
        ticks = np.repeat([one.tick for one in self.opens], [len(one) for one in self.opens])
        return set(zip(*(self.column(name).tolist() for name in names), ticks.tolist(), strict=True))


def live(feed: Feed, slates: Any = newest, until: float = np.inf) -> Life:
    life = Life([])
    while not feed.done and feed.now < until:
        visits = feed.visits
        life.opens += [] if visits.opens is None else [visits.opens]
        life.visits += len(visits)
        outcome = feed.serve(slates(feed))
        life.clicks += int(outcome.clicks.sum())
        life.reward += float(outcome.reward.sum())
    return life


def test_as_many_come_as_the_share_says_and_as_a_poisson_process_has_it() -> None:
    feed = site(num_readers=800, newcomers_per_day=0.0, model=NewsReader(dataclasses.replace(EAGER, leaving=False)))
    life = live(feed)
    expected = 800 * 4.0 * ORGANIC.opens_per_day
    assert ORGANIC.opens_per_day == 2.0  # half of all opens, beside as many
    # An open may wait for the next tick and so for the next day, where it is dropped: next to none.
    assert abs(len(life.column("rows")) - expected) < 4.0 * np.sqrt(expected)
    per_reader = np.bincount(life.column("reader_id"), minlength=800)
    table = np.bincount(np.minimum(per_reader, 15), minlength=16)
    chances = stats.poisson.pmf(np.arange(16), 8.0)
    chances[-1] += stats.poisson.sf(15, 8.0)
    used = chances * 800 >= 5

    def pooled(values: Any) -> Any:
        return np.append(values[used], values[~used].sum())

    assert stats.chisquare(pooled(table), 800 * pooled(chances)).pvalue > 1e-3
    wrong = stats.poisson.pmf(np.arange(16), 7.0)
    wrong[-1] += stats.poisson.sf(15, 7.0)
    assert stats.chisquare(pooled(table), 800 * pooled(wrong)).pvalue < 1e-3  # the check can fail


def test_channels_come_by_their_shares_and_hours_by_the_profile_of_the_day() -> None:
    life = live(site(num_readers=600))
    count = np.bincount(life.column("channel"), minlength=len(CHANNELS))
    shares = np.array([channel.share for channel in CHANNELS])
    assert stats.chisquare(count, count.sum() * shares).pvalue > 1e-3
    assert stats.chisquare(count, count.sum() * np.full(4, 0.25)).pvalue < 1e-3
    hour = np.repeat([int(one.now % 24.0) for one in life.opens], [len(one) for one in life.opens])
    profile = np.array(ORGANIC.day_profile) / sum(ORGANIC.day_profile)
    # Newcomers of each day lack its first hours: a few per cent.
    assert np.abs(np.bincount(hour, minlength=24) / len(hour) - profile).max() < 0.01


def test_the_same_opens_whatever_is_served() -> None:
    """As long as the reader is there: what is served decides who leaves."""
    one, other = site(), site()
    lives = live(one), live(other, nothing)
    stays = ~(one.has_left | other.has_left)
    staying = set(np.flatnonzero(stays).tolist())
    a, b = ({key for key in life.whole() if key[0] in staying} for life in lives)
    assert a == b
    assert len(a) > 500
    assert lives[0].whole() != lives[1].whole()  # who had left opened no more


def test_the_same_opens_in_shards_and_for_one_reader_alone() -> None:
    """No batch, no other reader and no order of them is in a reader's luck."""
    whole = live(site(newcomers_per_day=0.0), nothing).whole()
    parts = [
        live(site(num_readers=75, first_reader_id=first, population=150, newcomers_per_day=0.0), nothing).whole()
        for first in (0, 75)
    ]
    assert parts[0] | parts[1] == whole
    alone = live(site(num_readers=1, first_reader_id=7, population=150, newcomers_per_day=0.0), nothing).whole()
    assert alone == {key for key in whole if key[0] == 7}
    assert len(alone) > 2


def test_nothing_is_opened_twice_in_a_tick_and_all_of_it_is_live() -> None:
    feed = site(OrganicConfig(share=0.8, reference_opens_per_day=4.0), tick_hours=0.5)
    while not feed.done:
        opens = feed.visits.opens
        if opens is not None:
            assert (np.diff(opens.rows) > 0).all()
            assert feed.catalogue.archive.is_live[opens.article_id].all()
            assert not feed.has_left[opens.rows].any()
        feed.serve(newest(feed))
    assert feed.num_opens > 0.8 * 150 * 4 * 16


def test_visits_and_opens_are_conserved() -> None:
    feed = site(history_length=400)
    life = live(feed)
    everybody = np.arange(feed.population.num_rows)
    assert feed.records.visit_count[everybody].sum() == life.visits
    assert feed.records.click_count[everybody].sum() == life.clicks + len(life.column("rows"))
    assert feed.num_opens == len(life.column("rows")) > 500
    articles = np.arange(feed.catalogue.archive.published)
    assert feed.catalogue.clicks_of(articles).sum() == life.clicks
    assert (
        feed.catalogue.opens_of(articles).tolist()
        == np.bincount(life.column("article_id"), minlength=len(articles)).tolist()
    )
    kept = feed.records.history(everybody)[0]
    assert np.count_nonzero(kept >= 0) == life.clicks + feed.num_opens
    # The other sites: without opens nothing of this is there.
    plain = live(without := site(OrganicConfig()))
    assert plain.opens == []
    assert without.num_opens == without.catalogue.opens_of(articles).sum() == 0


def test_an_open_is_read_sates_and_is_remembered_and_moves_no_trust() -> None:
    """What docs/mathematics.md 9.5 says it changes, and what it leaves alone."""
    feed, reader = site(num_readers=1, newcomers_per_day=0.0), NewsReader(EAGER)
    while feed.visits.opens is None:
        feed.serve(nothing(feed))
    before, model = site(num_readers=1, newcomers_per_day=0.0), feed.reader_model
    while before.tick < feed.tick - 1:
        before.serve(nothing(before))
    opens = feed.visits.opens
    article = int(opens.article_id[0])
    topic = int(feed.catalogue.archive.column("topic")[article])
    assert feed.state["satiation"][0, topic] == pytest.approx(reader.config.satiation_step)
    assert feed.state["satiation"][0].sum() == pytest.approx(reader.config.satiation_step)
    tags = feed.state["memory"].view(np.int32)[0, ::2]
    assert tags[article % reader.config.memory_slots] == 2 * article + 1  # as clicked
    assert feed.state["seen_hours"][0] == opens.now
    for name in ("trust", "value", "interest", "subscriber"):
        np.testing.assert_array_equal(feed.state[name], before.state[name])
    history, minutes = feed.records.history(np.zeros(1, dtype=np.int64))
    assert history[0, :2].tolist() == [article, -1]
    assert minutes[0, 0] == pytest.approx(float(opens.dwell_minutes[0]), rel=1e-3)
    assert minutes[0, 0] > 0
    assert isinstance(model, Expecting)
    who = np.zeros(1, dtype=np.int64)
    expected = model.expected_response(feed.state, who, feed.catalogue.archive, opens.article_id, feed.now)
    assert 0.2 < float(opens.dwell_minutes[0] / expected[1][0, 0]) < 5.0


def test_visits_and_their_gaps_are_those_of_a_site_without_opens_where_nobody_clicks() -> None:
    """An open from elsewhere is no visit: where slates show nothing, everybody comes when she would have come."""
    came: list[list[tuple[Any, ...]]] = []
    for organic in (ORGANIC, OrganicConfig()):
        feed, seen = site(organic), []
        while not feed.done:
            v = feed.visits
            seen.append((v.reader_id.tolist(), v.visit.tolist(), v.gap_hours.tolist()))
            feed.serve(nothing(feed))
        came.append(seen)
    assert came[0] == came[1]


def test_readers_before_the_open_are_shown_as_they_were() -> None:
    feed = site()
    seen = 0
    while not feed.done:
        opens = feed.visits.opens
        if opens is not None:
            were, after = opens.readers(), feed.records.history(opens.rows)[0]
            assert were.reader_id.tolist() == opens.reader_id.tolist()
            assert after[:, 0].tolist() == opens.article_id.tolist()
            assert were.history_id[:, :-1].tolist() == after[:, 1:].tolist()
            assert (were.history_id[:, -1] == -1).all()
            seen += 1
        feed.serve(newest(feed))
    assert seen > 50


def test_tastes_of_a_channel_are_those_of_its_weight() -> None:
    """Search goes by taste, push does not: the match of who opens with what is opened, against what is on offer."""
    strong = NewsReaderConfig(taste_concentration=0.05, leaving=False)
    match: dict[str, float] = {}
    for taste in (0.0, 1.0):
        channel = Channel(name="one", share=1.0, appeal=0.0, buzz=0.0, taste=taste, aging=0.0)
        feed = site(dataclasses.replace(ORGANIC, channels=(channel,)), model=NewsReader(strong))
        life = live(feed, nothing)
        vectors, interest = feed.catalogue.archive.column("vector"), feed.state["interest"]
        match[str(taste)] = float(
            np.einsum("md,md->m", vectors[life.column("article_id")], interest[life.column("rows")]).mean()
        )
    assert match["1.0"] > match["0.0"] + 0.15
    assert abs(match["0.0"]) < 0.1


def test_ages_and_inequality_of_a_channel_are_those_of_its_weights() -> None:
    found: dict[str, tuple[float, float]] = {}
    for name, aging, buzz in (("plain", 0.0, 0.0), ("fresh", 2.0, 0.0), ("big", 0.0, 2.0)):
        channel = Channel(name=name, share=1.0, appeal=0.0, buzz=buzz, taste=0.0, aging=aging)
        feed = site(dataclasses.replace(ORGANIC, channels=(channel,)))
        life = live(feed, nothing)
        now = np.repeat([one.now for one in life.opens], [len(one) for one in life.opens])
        age = now - feed.catalogue.archive.column("published_hours")[life.column("article_id")]
        times = np.bincount(life.column("article_id"))
        found[name] = float(np.median(age)), float(np.sort(times)[-10:].sum() / times.sum())
    assert found["fresh"][0] < 0.6 * found["plain"][0]
    assert found["big"][1] > 2.0 * found["plain"][1]


def test_opens_pay_nothing_unless_asked() -> None:
    weights = RewardConfig(click=2.0, dwell_minutes=0.5)
    free, paid = (live(site(dataclasses.replace(ORGANIC, reward=reward), reward=weights)) for reward in (0.0, 0.25))
    assert not free.column("reward").any()
    assert free.whole() == paid.whole()
    assert free.reward == paid.reward  # of slates
    np.testing.assert_allclose(paid.column("reward"), 0.25 * (2.0 + 0.5 * paid.column("dwell_minutes")), rtol=1e-6)


@pytest.mark.parametrize("world", ["vivid", "measured"])
def test_a_site_goes_on_from_a_snapshot_byte_for_byte(world: str) -> None:
    preset = WORLDS[world]
    organic = dataclasses.replace(preset.feed.organic, share=0.6)
    config = dataclasses.replace(preset.feed, num_readers=120, newcomers_per_day=0.2, days=2.0, organic=organic)

    def make(days: float = 2.0) -> Feed:
        return Feed(dataclasses.replace(config, days=days), NewsReader(preset.reader), 3)

    feed, straight = make(), make()
    live(straight)
    for hours in (30.0, 31.0 + 1 / 3):  # at the full hour, and within one
        live(feed, until=hours)
        while feed.visits.opens is None:
            feed.serve(newest(feed))
        saved = feed.snapshot()
        again = make()
        again.restore(saved)
        assert again.visits.opens is not None
        assert feed.visits.opens is not None
        assert again.visits.opens.readers().history_id.tolist() == feed.visits.opens.readers().history_id.tolist()
        assert differing(dict(walk(again.snapshot())), dict(walk(saved))) == []
        live(again)
        ends = [site.snapshot() for site in (again, straight)]
        assert differing(dict(walk(ends[0])), dict(walk(ends[1]))) == []
    # A longer run begins with the same bytes, and goes on where the shorter one ended.
    short = make(1.5)
    live(short)
    longer = make()
    longer.restore(short.snapshot())
    live(longer)
    assert differing(dict(walk(longer.snapshot())), dict(walk(ends[1]))) == []


def test_a_snapshot_of_another_kind_of_site_is_refused() -> None:
    with pytest.raises(ValueError, match=r"snapshot: got 'opens from elsewhere', needs none"):
        site(OrganicConfig()).restore(site().snapshot())
    with pytest.raises(ValueError, match=r"opens_per_day"):
        site().restore(site(OrganicConfig()).snapshot())
    assert not [name for name in site(OrganicConfig()).snapshot() if "open" in name or "elsewhere" in name]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="reader_model: got 'Good', needs one with the methods of"):
        site(model=Good())
    site(OrganicConfig(), model=Good())
    with pytest.raises(ValueError, match="0 with modules"):
        site(modules=ModuleConfig())
    for changes in ({"share": 1.0}, {"share": -0.1}, {"channels": CHANNELS[:2]}, {"channels": (CHANNELS[0],) * 2}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            OrganicConfig(**changes)


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.5, 9.0, 300.0])
def test_poisson_chances(mean: float) -> None:
    up_to = poisson_cdf(mean)
    np.testing.assert_allclose(up_to, stats.poisson.cdf(np.arange(len(up_to)), mean), rtol=1e-9, atol=1e-300)
    assert up_to[-1] > 1 - 1e-12


ROOT = Path(__file__).parents[3]


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "guide" / "worlds.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(block, {})
    found = re.fullmatch(
        r"(\d+) opens from elsewhere beside (\d+) clicks; the last by (\w+)\n", capsys.readouterr().out
    )
    assert found is not None
    assert int(found[1]) > 100
    assert found[3] in {channel.name for channel in CHANNELS}


def test_the_mathematics_has_the_channels_and_the_opens_of_recent() -> None:
    page = (ROOT / "docs" / "mathematics" / "worlds.md").read_text().partition("### 9.5")[2]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")
    ]
    found = {row[0].replace(" ", "_"): tuple(map(float, row[1:])) for row in rows[1:]}
    assert found == {c.name: (c.share, c.appeal, c.buzz, c.taste, c.aging) for c in CHANNELS}
    for name, preset in WORLDS.items():
        assert f"{preset.feed.organic.reference_opens_per_day:.2f} in `{name}`" in page
    assert f"`C = {OrganicConfig().noticed}` articles" in page
