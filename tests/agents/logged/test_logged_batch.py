"""Logs of lists drawn ahead: what is logged of their pages, and who learns or estimates from which of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from feedgym.agents.logged.evaluation import evaluate_on_log
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.agents.slate_policy.served import marginals_of
from feedgym.env import Feed, FeedConfig, NewsReader
from feedgym.env.log import read_impressions
from feedgym.env.log.reader import LogReader
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.env.readers.protocol import Outcome
from feedgym.env.worlds import WORLDS

CONFIG = FeedConfig(num_readers=60, tick_hours=1.0, days=2)
CLOCKS = "serving=batch,reader_refresh_hours=6,item_refresh_hours=6,train_every_hours=6"


def new_feed() -> Feed:
    return Feed(CONFIG, NewsReader(WORLDS["vivid"].reader), seed=3)


def live(
    agent_text: str, folder: Path, readers: int = 60, seed: int = 3, slate_size: int = 8, world: str = "vivid"
) -> Any:
    """Two days of an agent, with its log; it has also trained on the last hours."""
    config = replace(CONFIG, num_readers=readers, slate_size=slate_size)
    feed = Feed(config, NewsReader(WORLDS[world].reader), seed=seed)
    agent: Any = parse_agent(agent_text).start(feed)
    log = ImpressionLog(config, run_id="r", policy=agent_text, config={"seed": seed})
    while not feed.done:
        visits = feed.visits
        served = agent.act(visits, feed.catalogue)
        outcome = feed.serve(served.article_id)
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        drawn = served.as_drawn
        log.append(visits, outcome, drawn, drawn.log_columns(visits.reader_id) | marginals_of([drawn])._asdict())
    agent.act(feed.visits, feed.catalogue)
    log.flush(folder / "impressions" / "day-0000.parquet")
    write_articles(folder / "articles.parquet", feed.catalogue.archive)
    return agent


@pytest.mark.parametrize(
    ("name", "world"),
    [
        *((name, "vivid") for name in ("regression-dwell", "contrastive:propensity_cap=None", "reinforce", "ltv")),
        ("reinforce:estimator=marginal,sharpness=1.0", "measured"),  # with sessions
    ],
)
def test_a_log_of_slates_drawn_ahead_teaches_what_the_run_taught(name: str, world: str, tmp_path: Path) -> None:
    text = f"{name}{',' if ':' in name else ':'}{CLOCKS},max_steps=3"
    agent = live(text, tmp_path, world=world)
    site = LoggedSite(tmp_path, category_sizes=new_feed().catalogue.category_sizes)
    again: Any = parse_agent(text).start(site)  # type: ignore[arg-type]
    learn_from_log(again, site)
    assert again.policy_version == agent.policy_version == 8
    mine, theirs = again.model.to_arrays(), agent.model.to_arrays()
    for key, values in mine.items():
        np.testing.assert_allclose(values, theirs[key], rtol=0, atol=1e-6, err_msg=key)


def by_list(folder: Path) -> list[tuple[int, Any]]:
    """Visits of each list in order, columns of their rows, by reader's day."""
    table = read_impressions(folder).to_pydict()
    visits: dict[int, dict[str, list[Any]]] = {}
    for row in range(len(table["visit_id"])):
        of_visit = visits.setdefault(table["visit_id"][row], {name: [] for name in table})
        for name, values in table.items():
            of_visit[name].append(values[row])
    lists: dict[int, list[Any]] = {}
    for visit in visits.values():
        lists.setdefault(visit["slate_id"][0], []).append(visit)
    return list(lists.items())


@pytest.mark.parametrize("rules", ["", ",rules=exclude(age_hours>4)"])
def test_a_log_says_what_of_a_list_was_shown_and_what_was_passed_over(rules: str, tmp_path: Path) -> None:
    # Of what the shipped agent draws next to nothing has expired when it is shown.
    live(f"regression-dwell:{CLOCKS},max_steps=3,wide_part=False,loss=pointwise,sharpness=1.0{rules}", tmp_path)
    times = pq.read_table(tmp_path / "articles.parquet", columns=["published_hours", "expires_hours"]).to_pydict()
    published, expires = (np.array(times[name]) for name in ("published_hours", "expires_hours"))
    further = expired = excluded = 0
    for slate_id, pages in by_list(tmp_path):
        next_place = 0
        seen: set[int] = set()
        for number, page in enumerate(pages):
            now, made = page["time_hours"][0], page["slate_made_hours"][0]
            assert (page["visit_id"][0] == slate_id) == (number == 0)
            shown = [a for a in page["article_id"] if a >= 0]
            # A list shows an article once, and only while it is live; what it had was live at the draw.
            assert not seen & set(shown)
            assert len(set(shown)) == len(shown)
            seen |= set(shown)
            assert all(published[a] <= made and now < expires[a] for a in shown)
            if rules:
                assert all(now - published[a] <= 4 for a in shown)
            places = [p for p in page["list_position"] if p is not None]
            assert len(places) == len(shown)
            assert places == sorted(set(places))
            skipped = page["num_skipped_expired"][0], page["num_skipped_excluded"][0]
            if len(shown) == 8:
                assert places[-1] + 1 - next_place == 8 + sum(skipped)
                next_place = places[-1] + 1
            if not rules:
                above = sum(now < expires[a] for a in seen - set(shown))
                assert page["num_live"][0] == ((published <= made) & (now < expires)).sum() - above
            unknown = [page[name][0] is None for name in ("inclusion", "slot_marginal", "inclusion_time")]
            if number > 0 and not page["greedy"][0] and shown:
                assert all(unknown)
            elif not page["greedy"][0] and len(shown) == 8:
                assert not any(unknown)
            further, expired, excluded = further + (number > 0), expired + skipped[0], excluded + skipped[1]
    assert further > 20
    assert ((expired > 20), (excluded > 20)) == (not rules, bool(rules))


def test_a_log_of_lists_is_as_complete_as_its_first_pages(tmp_path: Path) -> None:
    live(f"regression-dwell:{CLOCKS},max_steps=3", tmp_path)
    summary = LogReader(tmp_path).summary
    assert 0 < summary.num_greedy < summary.num_visits
    assert summary.num_ahead > 0
    assert summary.has_default_slates
    assert summary.why_unsupported is None
    assert not summary.incomplete & {"inclusion", "inclusion_time", "slot_marginal", "slot_propensity"}
    site = LoggedSite(tmp_path, category_sizes=new_feed().catalogue.category_sizes)
    further = first = 0
    while not site.done:
        logged = site.logged
        assert not logged.expired.any()
        assert (logged.made_hours == np.floor(site.now / 6.0) * 6.0).all()
        own, later = ~np.asarray(logged.unweighted) & ~logged.greedy, np.asarray(logged.further)
        assert (np.isnan(logged.inclusion) == (later[:, None] & (logged.article_id >= 0))).all()
        assert not np.isnan(logged.inclusion[own]).any()
        further, first = further + int(later.sum()), first + int(own.sum())
        site.advance()
    assert min(further, first) > 20


@pytest.mark.parametrize("rules", ["cap(topic,2)", "cap(topic,2)+exclude(age_hours>4)"])
def test_under_rules_a_log_names_what_had_expired_where_it_left_a_hole(rules: str, tmp_path: Path) -> None:
    live(f"regression-dwell:{CLOCKS},max_steps=3,rules={rules}", tmp_path)
    site = LoggedSite(tmp_path, category_sizes=new_feed().catalogue.category_sizes)
    expired = shown = empty = 0
    while not site.done:
        logged, live_ids = site.logged, site.catalogue.article_id
        there = np.isin(logged.article_id, live_ids)
        assert (logged.expired == (~there & (logged.article_id >= 0))).all()
        if "age" in rules:
            assert (site.now - site.catalogue.published_hours_of(logged.article_id[there]) <= 4).all()
        expired, shown = expired + int(logged.expired.sum()), shown + int(there.sum())
        empty += int((logged.article_id < 0).sum())
        site.advance()
    assert (expired > 0) == ("age" not in rules)
    skipped = np.array(read_impressions(tmp_path)["num_skipped_excluded"].to_pylist())
    # What was excluded by the visit leaves a trace, too: an empty position that is counted.
    assert (skipped.sum() > 0) == ("age" in rules) == (empty > 20)
    assert shown > 100


def evaluated(folder: Path, target: str) -> Any:
    """Estimates for an agent that has learned from the log's first day, on the second."""
    sizes = new_feed().catalogue.category_sizes
    sites = [LoggedSite(folder, category_sizes=sizes) for _ in range(2)]
    agents: list[Any] = [parse_agent(target).start(site) for site in sites]  # type: ignore[arg-type]
    learn_from_log(agents[0], sites[0], until_hours=24.0)
    agents[1].adopt(agents[0])
    return evaluate_on_log(agents[1], sites[1], from_hours=24.0, rng=np.random.default_rng(0), replicates=50)


def test_estimates_from_slates_drawn_ahead_use_what_was_drawn_once(tmp_path: Path) -> None:
    # Slates of two: the longer they are, the more of a mean weight sits on slates that are never seen.
    live(f"regression-dwell:{CLOCKS},max_steps=3,epsilon=0.8,sharpness=1", tmp_path, readers=400, seed=8, slate_size=2)
    found = evaluated(tmp_path, f"regression-dwell:{CLOCKS},max_steps=3,epsilon=0.8,sharpness=0.5")
    columns: dict[str, list[Any]] = {name: [] for name in ("slate_id", "greedy", "time_hours")}
    for visits in LogReader(tmp_path).visits():
        for name, values in columns.items():
            values.append(visits[name])
    slate, greedy, hours = (np.concatenate(values) for values in columns.values())
    used = (hours >= 24.0) & ~greedy
    assert 0 < len(np.unique(slate[used])) < used.sum()
    assert found.num_visits == len(np.unique(slate[used]))
    rows = {row.estimator: row.diagnostics for row in found.rows}
    assert rows.keys() == {"sniips", "snrips", "snsips"}
    for name, seen in rows.items():
        assert abs(seen.mean_weight - 1.0) < 0.15, name
        assert seen.effective_sample_size > 30
    assert any("first page of each list" in note for note in found.notes)


def test_estimates_refuse_slates_of_another_moment(tmp_path: Path) -> None:
    quick = "max_steps=3,epsilon=0.5"
    live(f"regression-dwell:{CLOCKS},{quick}", tmp_path / "ahead")
    with pytest.raises(ValueError, match="serving: got 'realtime', needs batch"):
        evaluated(tmp_path / "ahead", f"regression-dwell:{quick},train_every_hours=6")
    other = CLOCKS.replace("reader_refresh_hours=6", "reader_refresh_hours=12")
    with pytest.raises(
        ValueError, match="reader_refresh_hours: got 'slates of 24 h', needs the log's clock: its are of 30"
    ):
        evaluated(tmp_path / "ahead", f"regression-dwell:{other},{quick}")
    live(f"regression-dwell:train_every_hours=6,{quick}", tmp_path / "now")
    with pytest.raises(ValueError, match="serving: got 'batch', needs realtime or streaming"):
        evaluated(tmp_path / "now", f"regression-dwell:{CLOCKS},{quick}")
