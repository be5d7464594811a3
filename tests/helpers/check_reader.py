"""A reader model that is good, ways to break one of its methods, and what the check finds."""

import dataclasses
import threading
from typing import Any

import numpy as np

from feedgym.env import (
    Outcome,
    ReaderProblem,
    ReaderReport,
    check_reader_model,
)
from feedgym.env.check_reader.rehearsal import _SITE


class Good:
    """Learns to like the site, comes back sooner for it, leaves at times."""

    observable_names: Any = ("liking", "visits")

    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        n = len(reader_ids)
        return {"taste": noise.uniform("taste", "reader"), "liking": np.zeros(n), "visits": np.zeros(n, dtype=np.int64)}

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return 24.0 * noise.uniform("first visit", "reader")

    def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
        appeal = state["taste"][rows][:, None] + state["liking"][rows][:, None] - 0.02 * slate.age_hours
        clicks = slate.valid & (noise.uniform("click", "impression") < appeal)
        minutes = np.where(clicks, noise.exponential("dwell", "impression"), 0.0)
        state["liking"][rows] += 0.01 * clicks.sum(axis=1)
        state["visits"][rows] += 1
        return Outcome(clicks=clicks, dwell_minutes=minutes, subscribed=noise.uniform("subscribe") < 0.01)

    def next_visit(self, state: Any, rows: Any, outcome: Any, now: float, noise: Any) -> Any:
        hours = noise.exponential("gap") * 8.0 / (1.0 + state["liking"][rows])
        return np.where(noise.uniform("leave") < 0.02, np.inf, hours)

    def observe(self, state: Any, rows: Any) -> Any:
        return np.stack([state["liking"][rows], state["visits"][rows]], axis=1).astype(np.float32)

    def expected_response(self, state: Any, rows: Any, archive: Any, article_id: Any, now: float) -> Any:
        age = now - archive.column("published_hours")[article_id]
        chance = np.clip((state["taste"] + state["liking"])[rows][:, None] - 0.02 * age, 0.0, 1.0)
        return chance.astype(np.float32), np.ones(chance.shape, dtype=np.float32)


def rehearse(model: Any, days: float = 1.5) -> ReaderReport:
    """On a site that is smaller than the default, for time."""
    return check_reader_model(model, config=dataclasses.replace(_SITE, num_readers=60, days=days))


def kinds(report: ReaderReport) -> set[tuple[str, str]]:
    return {(p.method, p.check) for p in report.problems}


def only(report: ReaderReport, method: str, check: str) -> ReaderProblem:
    assert kinds(report) == {(method, check)}, str(report)
    assert not report.ok
    return report.problems[0]


class Uncopyable(Good):
    def __init__(self) -> None:
        self.lock = threading.Lock()


def in_respond(**changes: Any) -> type:
    """Good, but for some of the arrays of its outcome: each a function of (good one, slate, noise)."""

    class Broken(Good):
        def respond(self, state: Any, rows: Any, slate: Any, now: float, noise: Any) -> Any:
            outcome = super().respond(state, rows, slate, now, noise)
            new = {name: change(getattr(outcome, name), slate, noise) for name, change in changes.items()}
            return dataclasses.replace(outcome, **new)

    return Broken


def returning(method: str, change: Any) -> type:
    """Good, but what one method returns goes through ``change``."""

    def changed(self: Any, *args: Any) -> Any:
        return change(getattr(Good, method)(self, *args))

    return type("Broken", (Good,), {method: changed})


def with_column(**columns: Any) -> Any:
    return lambda state: state | columns


def drawing(method: str, draw: Any) -> type:
    """Good, but one method adds what ``draw(n)`` gives to what it returns."""

    def changed(self: Any, *args: Any) -> Any:
        returned = getattr(Good, method)(self, *args)
        if method == "spawn":
            returned["taste"] += draw(len(returned["taste"]))
        elif method == "respond":
            keep = draw(len(returned.clicks)) < 0.5
            returned.clicks &= keep[:, None] if np.ndim(keep) else keep
            returned.dwell_minutes *= returned.clicks
        elif method == "expected_response":
            returned = (returned[0], returned[1] + draw(len(returned[1]))[:, None].astype(np.float32))
        elif method == "observe":
            returned[:, 0] += draw(len(returned))
        else:
            returned = returned + draw(len(returned))
        return returned

    return type("Broken", (Good,), {method: changed})


METHODS = ["spawn", "first_visit", "respond", "next_visit", "observe", "expected_response"]
