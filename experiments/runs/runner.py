"""One run: an agent lives through a world. It can be stopped at any moment and goes on where it was.

State is saved at the end of simulated days, after the day's part of the log. A run that was killed and started again
ends with the same bytes as one that was not: log, curves and all.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from feedgym.agents.agent import Agent, Counting
from feedgym.env.arrays import Arrays, nest, unnest
from feedgym.env.checks import require
from feedgym.env.log import (
    ARTICLES_NAME,
    IMPRESSIONS,
    MODULES_NAME,
    OPENS,
    ImpressionLog,
    OpenLog,
    write_articles,
    write_modules,
)
from feedgym.env.readers import Outcome
from feedgym.experiments.measures import EditorView, Evaluation
from feedgym.experiments.reports import (
    Curves,
    LiveEvents,
    Point,
    Run,
    read_curves,
    retire,
    run_folder,
    run_head,
    run_points,
    write_curves,
)
from feedgym.experiments.runs.checkpoint import (
    CHECKPOINT,
    DONE,
    load_arrays,
    locked,
    read_json,
    save_arrays,
    write_bytes,
    write_json,
)
from feedgym.experiments.runs.code import say
from feedgym.experiments.runs.drive import Drive, make_drive
from feedgym.experiments.runs.embeddings import save_embeddings
from feedgym.experiments.runs.logged_chances import LoggedChances
from feedgym.experiments.runs.messages import Progress
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.experiments.runs.standing import CONFIG, CURVES, standing, start_over, words_of
from feedgym.experiments.runs.threads import one_thread

CHECKPOINT_SHARE = 10.0
"""Time between two checkpoints, at least, in times that the last one took."""


Report = Callable[[Progress], None]


def run(
    config: RunConfig,
    folder: Path,
    *,
    tensorboard: Path | None = None,
    report: Report | None = None,
    reuse: bool = False,
) -> Run:
    """Run, or go on with a run that was stopped, or read one that is finished.

    Args:
        config: what to run.
        folder: the run's own folder.
        tensorboard: root of the event files; None writes none.
        report: called at the end of every simulated day.
        reuse: take a finished run of other code as it is. Without it, and always where it is not finished, the run is
            done anew; an ``OtherCodeWarning`` says which code has changed.

    Returns:
        The finished run.
    """
    with locked(folder):
        found = standing(folder, config.settings())
        words = words_of([found], reuse)
        if words is not None:
            say(words)
        if not found.is_taken(reuse):
            start_over(folder)
            if tensorboard is not None:
                plan = config.plan()
                retire(run_folder(tensorboard, plan.label, config.seed, plan.is_oracle))
        was_finished = (folder / DONE).exists()
        if not was_finished:
            with one_thread():
                runner = _Runner(config, folder, tensorboard, report)
                # Again: the agent has loaded its libraries meanwhile.
                with one_thread():
                    runner.run()
        # Also after a run that was killed between its last two steps.
        (folder / CHECKPOINT).unlink(missing_ok=True)
        finished = load_run(folder)
    if was_finished and report is not None:
        report(_progress(finished.curves, finished.agent, finished.seed, config.horizon_days, 0.0))
    return finished


def load_run(folder: Path) -> Run:
    """A finished run from its folder.

    Raises:
        FileNotFoundError: the run is not finished, or this is not the folder of a run.
    """
    done = read_json(folder / DONE)
    curves = read_curves(folder / CURVES, done)
    parts = (done["evaluation"], done.get("editor"), done.get("serving"))
    return Run(done["agent"], done["seed"], done["is_oracle"], curves, *parts)


class _Runner:
    """The loop, and what it keeps between the days."""

    def __init__(self, config: RunConfig, folder: Path, tensorboard: Path | None, report: Report | None) -> None:
        self._config, self._folder = config, folder
        self._plan = config.plan()
        self._report = report
        self._drive: Drive = make_drive(config)
        self._agent: Agent = self._plan.start(self._drive.feed)
        self._evaluation = Evaluation(config.evaluate_visits, self._drive.feed, self._agent)
        self._editor = EditorView(self._drive.feed)
        self._has_opens = config.organic_share > 0
        self._curves = Curves(config.readers, config.horizon_days, with_opens=self._has_opens)
        self._points: list[Point] = []
        self._settings = config.settings()
        self._log = ImpressionLog(
            config.feed_config(),
            run_id=config.folder_name(),
            policy=self._plan.label,
            config=self._settings,
        )
        self._open_log = OpenLog(self._settings)
        self._chances = LoggedChances(self._log, exact=config.log_marginals)
        self._visits_here = 0
        self._saved: float | None = None
        self._saving_seconds = 0.0
        write_json(folder / CONFIG, self._settings)
        checkpoint = folder / CHECKPOINT
        if checkpoint.exists():
            self._restore(load_arrays(checkpoint))
        self._events: LiveEvents | None = None
        if tensorboard is not None:
            path = run_folder(tensorboard, self._plan.label, config.seed, self._plan.is_oracle)
            shown = {k: v for k, v in self._settings.items() if isinstance(v, int | float | str)}
            head = run_head(self._plan.label, config.seed, shown)
            self._events = LiveEvents(path, self._points, head)

    def run(self) -> None:
        feed, per_day = self._drive.feed, self._drive.feed.config.ticks_per_day
        self._started = time.perf_counter()
        while not feed.done:
            self._tick()
            if feed.tick % per_day == 0 or feed.done:
                self._end_day()
        if self._events is not None:
            self._events.close()
        self._finish()

    def _tick(self) -> None:
        drive, agent = self._drive, self._agent
        visits, now, feed = drive.visits, drive.feed.now, drive.feed
        reader_days = feed.num_there * feed.config.tick_hours / 24.0
        served = agent.act(visits, drive.catalogue)
        self._evaluation.before_serving(visits, served.article_id)
        outcome = drive.serve(served.article_id)
        self._evaluation.after_serving(served.article_id, outcome, now)
        self._editor.after_serving(visits, served, outcome, now)
        # No more than a site can see: not who left, nor when readers will be back.
        agent.learn(Outcome(clicks=outcome.clicks, dwell_minutes=outcome.dwell_minutes, subscribed=outcome.subscribed))
        self._curves.record(now, outcome, reader_days, visits.opens)
        self._visits_here += len(visits)
        if self._config.log:
            self._open_log.append(visits)
        if self._config.log and len(visits):
            drawn = served.as_drawn
            self._log.append(visits, outcome, drawn, drawn.log_columns(visits.reader_id))
            self._chances.append(drawn)

    def _end_day(self) -> None:
        """Log first, then the checkpoint: what a checkpoint knows of is on disk."""
        feed = self._drive.feed
        day = -(-feed.tick // feed.config.ticks_per_day) - 1
        if self._config.log:
            self._chances.flush()
            self._log.flush(self._folder / IMPRESSIONS / f"day-{day:04d}.parquet")
            if self._has_opens:
                self._open_log.flush(self._folder / OPENS / f"day-{day:04d}.parquet")
        step = round(feed.now)
        metrics = {metric_tag(name): value for name, value in self._agent.metrics().items()}
        seen = self._evaluation.end_day() | self._editor.end_day()
        last = self._points[-1][0] if self._points else -1
        new = [point for point in run_points(self._curves, feed.now) if point[0] > last]
        if new:
            taken = metrics.keys() & (new[-1][1] | seen).keys()
            require(not taken, "metrics", sorted(taken), "names that the run's own curves do not have")
            new[-1] = (new[-1][0], new[-1][1] | metrics | seen)
        self._points += new
        if self._events is not None:
            for point in new:
                self._events.add(*point)
        self._save_checkpoint()
        if self._report is not None:
            seconds = time.perf_counter() - self._started
            rate = self._visits_here / seconds if seconds > 0 else 0.0
            self._report(
                _progress(
                    self._curves, self._plan.label, self._config.seed, self._config.horizon_days, rate, step / 24.0
                )
            )

    def _save_checkpoint(self) -> None:
        """At the first day's end, and later when it would take less than a tenth of the time since the last.

        So checkpoints cost a tenth of a run at most, on however slow a disk; which days have one changes no byte of
        what the run ends with.
        """
        start = time.perf_counter()
        if self._saved is not None and start - self._saved < CHECKPOINT_SHARE * self._saving_seconds:
            return
        save_arrays(self._folder / CHECKPOINT, self._snapshot())
        self._saved = time.perf_counter()
        self._saving_seconds = self._saved - start

    def _snapshot(self) -> Arrays:
        points = np.frombuffer(json.dumps(self._points).encode(), dtype=np.uint8)
        return (
            nest("feed", self._drive.feed.snapshot())
            | nest("agent", self._agent.snapshot())
            | nest("curves", self._curves.snapshot())
            | nest("evaluation", self._evaluation.snapshot())
            | nest("editor", self._editor.snapshot())
            | {"points": points}
        )

    def _restore(self, arrays: Arrays) -> None:
        self._drive.feed.restore(unnest("feed", arrays))
        self._agent.restore(unnest("agent", arrays))
        self._curves.restore(unnest("curves", arrays))
        self._evaluation.restore(unnest("evaluation", arrays))
        self._editor.restore(unnest("editor", arrays))
        self._points = [(step, values) for step, values in json.loads(arrays["points"].tobytes().decode())]

    def _finish(self) -> None:
        folder, plan, feed = self._folder, self._plan, self._drive.feed
        if self._config.log:
            # The newsroom knows no agent: under one seed this file is the same for all.
            settings = {name: value for name, value in self._settings.items() if name != "agent"}
            write_articles(folder / ARTICLES_NAME, feed.catalogue.archive, config=settings)
            write_modules(folder / MODULES_NAME, feed, config=settings)
        write_bytes(folder / CURVES, write_curves(self._curves).encode())
        save_embeddings(folder, self._agent, feed)
        done = {
            "agent": plan.label,
            "seed": self._config.seed,
            "is_oracle": plan.is_oracle,
            "num_readers": self._curves.num_readers,
            "days": self._curves.days,
            "bin_hours": self._curves.bin_hours,
            "invalid_entries": feed.invalid_entries,
            "evaluation": self._evaluation.summary(),
            "editor": self._editor.summary(),
            "serving": self._agent.serving_counts() if isinstance(self._agent, Counting) else None,
        }
        write_json(folder / DONE, done)


def metric_tag(name: str) -> str:
    """TensorBoard tag of an agent's metric: as it is where it names its group (``retrieval/recall_at_k``)."""
    return name if "/" in name else f"train/{name}"


def _progress(curves: Curves, agent: str, seed: int, days: float, rate: float, day: float | None = None) -> Progress:
    done = days if day is None else day
    reward = float(curves.totals["reward"].sum()) / (curves.num_readers * done)
    return Progress(agent=agent, seed=seed, day=done, days=days, reward=reward, visits_per_second=rate)
