"""``measured``: same seed, same bytes, whatever the batch, the shard or the moment of a restore; events included."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest

from feedgym.env import Feed, NewsReader, ServedOutcome, check_reader_model
from feedgym.env.config import EventConfig
from feedgym.env.feed import feed as feed_module
from feedgym.env.worlds import WORLDS

WORLD = WORLDS["measured"]
# A short run with several events, and readers who come, click, drift and leave often.
SITE = dataclasses.replace(
    WORLD.feed,
    num_readers=80,
    days=3.0,
    newsroom=dataclasses.replace(WORLD.feed.newsroom, events=EventConfig(per_day=2.0, trend_hours=15.0)),
)
READERS = dataclasses.replace(
    WORLD.reader,
    base_log_odds=0.0,
    gap_median_hours=4.0,
    leaving_per_day=0.1,
    drift_time_hours=30.0,
    subscribe_hazard=0.1,
    enrolment_window_hours=60.0,
)
NAMES = [f.name for f in dataclasses.fields(ServedOutcome)]


def site(**changes: Any) -> Feed:
    return Feed(dataclasses.replace(SITE, **changes), NewsReader(READERS), 5)


def slates_of(feed: Feed) -> Any:
    """Newer articles more often; by reader, visit and what is live only."""
    live = np.sort(feed.catalogue.article_id)[::-1][:60]
    slates = np.full((len(feed.visits), feed.config.slate_size), -1, dtype=np.int64)
    for row, key in enumerate(zip(feed.visits.reader_id.tolist(), feed.visits.visit.tolist(), strict=True)):
        slates[row] = np.random.default_rng(key).choice(live, feed.config.slate_size, replace=False)
    return slates


def run(feed: Feed, ticks: int | None = None) -> dict[tuple[int, int], tuple[bytes, ...]]:
    """Everything that a visit showed and returned, by (reader, visit)."""
    story = {}
    while not feed.done and ticks != 0:
        visits = feed.visits
        columns = [visits.device, visits.session, visits.features, visits.gap_hours]
        outcome = feed.serve(slates_of(feed))
        columns += [getattr(outcome, name) for name in NAMES]
        for row, key in enumerate(zip(visits.reader_id.tolist(), visits.visit.tolist(), strict=True)):
            story[key] = tuple(np.asarray(column)[row].tobytes() for column in columns)
        ticks = None if ticks is None else ticks - 1
    return story


WHOLE = run(site())


def test_the_story_holds_what_it_should() -> None:
    assert len(WHOLE) > 2000
    feed = site()
    assert feed.newsroom.has_surges  # type: ignore[attr-defined]
    trends = [feed.newsroom.trend(float(hour))[0].max() for hour in range(72)]  # type: ignore[attr-defined]
    assert max(trends) > 0 == min(trends)


@pytest.mark.parametrize("ticks", [1, 300, 500])
def test_a_restored_feed_goes_on_byte_for_byte(ticks: int) -> None:
    first, resumed, file = site(), site(), io.BytesIO()
    story = run(first, ticks)
    np.savez(file, **first.snapshot())  # type: ignore[arg-type]
    file.seek(0)
    run(resumed, 77)  # another past leaves no trace
    with np.load(file, allow_pickle=False) as arrays:
        resumed.restore(dict(arrays))
    assert story | run(resumed) == WHOLE


def test_shards_and_blocks_change_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = run(site(num_readers=30)) | run(site(first_reader_id=30, num_readers=50))
    assert parts == WHOLE
    monkeypatch.setattr(feed_module, "BLOCK", 3)
    part = run(site(), 250)
    assert len(part) > 500
    assert part.items() <= WHOLE.items()


def test_the_model_passes_the_check() -> None:
    report = check_reader_model(NewsReader(WORLD.reader))
    assert report.problems == report.notes == (), str(report)
