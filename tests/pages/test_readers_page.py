"""docs/guide/readers.md: its readers pass the check, live under two agents, and do what the page says of them."""

import functools
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgym.agents import make_agent
from feedgym.agents.registry.plans import AGENTS
from feedgym.env import Feed, FeedConfig, check_reader_model
from feedgym.experiments import compare
from feedgym.experiments.commands import check_reader

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "readers.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
GALLERY = {found.group(1): block for block in BLOCKS if (found := re.match(r"# (\w+)\.py\n", block))}
READERS = {"night_owl": "NightOwl", "headline_skimmer": "HeadlineSkimmer", "loyal_subscriber": "LoyalSubscriber"}
AGENT_NAMES = ("random", "recent")


def names_of(code: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, "docs/guide/readers.md", "exec"), names)
    return names


def make(file: str) -> Any:
    return names_of(GALLERY[file])[READERS[file]]()


@dataclass(frozen=True)
class Life:
    """What was seen of all visits of a run, a row each."""

    hour: Any
    reader: Any
    clicks: Any
    minutes: Any
    clickbait: Any
    quality: Any
    subscribed: Any
    left: Any
    gap: Any
    features: Any


@functools.lru_cache
def live(file: str, agent_name: str) -> Life:
    """Two days of 150 readers."""
    feed = Feed(FeedConfig(num_readers=150, days=2.0), reader_model=make(file), seed=5)
    agent = make_agent(agent_name).start(feed)
    rows: list[tuple[Any, ...]] = []
    while not feed.done:
        visits, now = feed.visits, feed.now
        features = visits.features
        served = agent.act(visits, feed.catalogue)
        column = feed.catalogue.archive.column
        shown = [np.where(served.article_id >= 0, column(c)[served.article_id], 0.0) for c in ("clickbait", "quality")]
        outcome = feed.serve(served.article_id)
        agent.learn(outcome)
        n = len(visits)
        did = (outcome.clicks, outcome.dwell_minutes, *shown, outcome.subscribed, outcome.left)
        rows.append((np.full(n, now % 24.0), visits.reader_id, *did, outcome.hours_to_next_visit, features))
    return Life(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def test_the_page_has_its_readers_in_few_lines() -> None:
    assert GALLERY.keys() == READERS.keys()
    for block in GALLERY.values():
        assert len(block.splitlines()) <= 30


@pytest.mark.parametrize("file", READERS)
def test_a_reader_has_no_problem(file: str) -> None:
    report = check_reader_model(make(file))
    assert report.problems == report.notes == (), str(report)


@pytest.mark.parametrize("agent", AGENT_NAMES)
@pytest.mark.parametrize("file", READERS)
def test_a_reader_lives(file: str, agent: str) -> None:
    life = live(file, agent)
    assert len(life.hour) >= 150
    assert life.clicks.mean() > 0.01


@pytest.mark.parametrize("agent", AGENT_NAMES)
def test_night_owls_come_at_night_some_pages_a_night(agent: str) -> None:
    life = live("night_owl", agent)
    # Until four: who wants to come in the last minutes comes at the tick that ends them.
    assert ((life.hour >= 22.0) | (life.hour <= 4.0)).all()
    assert np.unique(life.hour // 1).size >= 6
    # In two days there is a night and two hours of a second.
    pages = np.bincount(life.reader, minlength=150)
    assert 1.5 < pages.mean() < 6.0


def test_night_owls_reward_fresh_articles() -> None:
    minutes = {agent: live("night_owl", agent).minutes.sum(axis=1).mean() for agent in AGENT_NAMES}
    assert minutes["recent"] > 1.5 * minutes["random"]


@pytest.mark.parametrize("agent", AGENT_NAMES)
def test_skimmers_click_clickbait_and_stay_for_seconds(agent: str) -> None:
    life = live("headline_skimmer", agent)
    clicked, passed = life.clickbait[life.clicks], life.clickbait[~life.clicks]
    error = np.sqrt(clicked.var() / clicked.size + passed.var() / passed.size)
    assert clicked.mean() - passed.mean() > 0.5 > 5.0 * error
    assert life.minutes[life.clicks].mean() < 0.5
    # Loyal subscribers look at quality only, and read for minutes.
    loyal = live("loyal_subscriber", agent)
    assert abs(loyal.clickbait[loyal.clicks].mean() - loyal.clickbait[~loyal.clicks].mean()) < 0.3
    assert loyal.minutes[loyal.clicks].mean() > 2.0


@pytest.mark.parametrize("agent", AGENT_NAMES)
def test_fooled_skimmers_stay_away_longer(agent: str) -> None:
    life = live("headline_skimmer", agent)
    fooled = np.zeros(150)
    for reader, clicks, loud, quality in zip(life.reader, life.clicks, life.clickbait, life.quality, strict=True):
        fooled[reader] += (clicks & (loud > quality)).sum()
    visits = np.bincount(life.reader, minlength=150)
    rate = fooled / np.maximum(visits, 1)
    often, seldom = rate > np.median(rate), rate <= np.median(rate)
    assert visits[often].mean() < visits[seldom].mean()


@pytest.mark.parametrize("agent", AGENT_NAMES)
def test_subscribers_subscribe_once_and_come_daily(agent: str) -> None:
    life = live("loyal_subscriber", agent)
    times = np.bincount(life.reader[life.subscribed], minlength=150)
    assert times.max() == 1
    assert times.sum() > 40
    # By the tick of a quarter of an hour.
    stay = ~life.left
    assert (np.abs(life.gap[stay] - 24.0) < 0.5).all()
    assert life.left.sum() > 3
    # Who has subscribed never leaves, and the site sees it from the next visit on.
    assert not (life.left & (life.subscribed | (life.features[:, 0] == 1.0))).any()
    so_far = np.zeros(150, dtype=bool)
    for reader, subscribed, feature in zip(life.reader, life.subscribed, life.features[:, 0], strict=True):
        assert feature == so_far[reader]
        so_far[reader] |= subscribed


def test_the_notebook_example_runs() -> None:
    (example,) = [block for block in BLOCKS if "check_reader_model(" in block]
    names = names_of(example, NightOwl=names_of(GALLERY["night_owl"])["NightOwl"])
    assert names["report"].ok


def test_the_report_shown_is_the_one_that_is_printed() -> None:
    night_owl: Any = names_of(GALLERY["night_owl"])["NightOwl"]

    class Hasty(night_owl):  # type: ignore[misc]
        def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
            return 12.0 * np.random.rand(len(rows))  # noqa: NPY002

    shown = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    head = r"\d+ visits"  # how many may change with the site of the rehearsal
    assert re.sub(head, "", shown[0]).strip() == re.sub(head, "", str(check_reader_model(Hasty())))


def test_the_commands_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, block in GALLERY.items():
        (tmp_path / f"{file}.py").write_text(block)
        # README has a module of such a name too.
        monkeypatch.setitem(sys.modules, file, None)
        monkeypatch.delitem(sys.modules, file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (checked,) = re.findall(r"^feedgym check-reader (\S+)$", PAGE, re.MULTILINE)
    for name in (checked, *(f"{file}:{name}" for file, name in READERS.items())):
        with pytest.raises(SystemExit) as end:
            check_reader.main([name])
        assert end.value.code == 0
        assert "no problem" in capsys.readouterr().out
    commands = re.findall(r"^feedgym compare (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    small = ["--readers", "40", "--days", "1", "--tick-hours", "1", "--seeds", "0", "--workers", "1"]
    for words in commands:
        agents = [] if "--agents" in words else ["--agents", "random,recent,popular"]
        compare.main([*words.split(), *agents, *small])
        report = capsys.readouterr().out
        for agent in ("random", "recent", "popular"):
            assert agent in report
    (words,) = re.findall(r"^feedgym train (.*)$", PAGE, re.MULTILINE)
    agent = words.split("--agent ")[1].split(":")[0]
    assert agent in AGENTS
