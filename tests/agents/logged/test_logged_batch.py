"""Logs of slates drawn ahead: what was drawn is logged, and what had expired teaches nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents.logged.evaluation import evaluate_on_log
from feedgym.agents.logged.learning import learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.registry.plans import parse_agent
from feedgym.agents.slate_policy.served import marginals_of
from feedgym.env import Feed, FeedConfig, NewsReader
from feedgym.env.log.reader import LogReader
from feedgym.env.log.writer import ImpressionLog, write_articles
from feedgym.env.readers.protocol import Outcome
from feedgym.env.worlds import WORLDS

CONFIG = FeedConfig(num_readers=60, tick_hours=1.0, days=2)
CLOCKS = "serving=batch,reader_refresh_hours=6,item_refresh_hours=6,train_every_hours=6"


def new_feed() -> Feed:
    return Feed(CONFIG, NewsReader(WORLDS["vivid"].reader), seed=3)


def live(agent_text: str, folder: Path, readers: int = 60, seed: int = 3) -> Any:
    """Two days of an agent, with its log; it has also trained on the last hours."""
    config = replace(CONFIG, num_readers=readers)
    feed = Feed(config, NewsReader(WORLDS["vivid"].reader), seed=seed)
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
    "name", ["regression-dwell", "contrastive", "reinforce", "ltv", "reinforce:estimator=marginal"]
)
def test_a_log_of_slates_drawn_ahead_teaches_what_the_run_taught(name: str, tmp_path: Path) -> None:
    text = f"{name}{',' if ':' in name else ':'}{CLOCKS},max_steps=3"
    agent = live(text, tmp_path)
    site = LoggedSite(tmp_path, category_sizes=new_feed().catalogue.category_sizes)
    again: Any = parse_agent(text).start(site)  # type: ignore[arg-type]
    learn_from_log(again, site)
    assert again.policy_version == agent.policy_version == 8
    mine, theirs = again.model.to_arrays(), agent.model.to_arrays()
    for key, values in mine.items():
        np.testing.assert_allclose(values, theirs[key], rtol=0, atol=1e-6, err_msg=key)


def test_entries_expired_by_the_visit_are_known_and_were_drawn(tmp_path: Path) -> None:
    live(f"regression-dwell:{CLOCKS},max_steps=3", tmp_path)
    site = LoggedSite(tmp_path, category_sizes=new_feed().catalogue.category_sizes)
    expired = shown = 0
    while not site.done:
        logged, live_ids = site.logged, site.catalogue.article_id
        there = np.isin(logged.article_id, live_ids)
        assert (logged.expired == ~there).all()
        assert (logged.made_hours == np.floor(site.now / 6.0) * 6.0).all()
        expired, shown = expired + int(logged.expired.sum()), shown + int(there.sum())
        site.advance()
    assert 0 < expired < shown
    summary = LogReader(tmp_path).summary
    assert 0 < summary.num_greedy < summary.num_visits
    assert summary.num_ahead > 0
    assert summary.has_default_slates
    assert summary.why_unsupported is None


def evaluated(folder: Path, target: str) -> Any:
    """Estimates for an agent that has learned from the log's first day, on the second."""
    sizes = new_feed().catalogue.category_sizes
    sites = [LoggedSite(folder, category_sizes=sizes) for _ in range(2)]
    agents: list[Any] = [parse_agent(target).start(site) for site in sites]  # type: ignore[arg-type]
    learn_from_log(agents[0], sites[0], until_hours=24.0)
    agents[1].adopt(agents[0])
    return evaluate_on_log(agents[1], sites[1], from_hours=24.0, rng=np.random.default_rng(0), replicates=50)


def test_estimates_from_slates_drawn_ahead_use_what_was_drawn_once(tmp_path: Path) -> None:
    # Mean weights over ten seeds: .99 +- .01, .99 +- .03, 1.03 +- .05; in a single one few visits may weigh much.
    live(f"regression-dwell:{CLOCKS},max_steps=3,epsilon=0.8", tmp_path, readers=400, seed=8)
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
    assert any("drawn ahead" in note for note in found.notes)


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
