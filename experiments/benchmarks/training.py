"""Benchmark of training: an epoch against the same model in plain torch, and how much of it is torch's kernels.

The log is real (slates of an untrained policy, with the histories that they made); both train on the same batches of
consecutive clicks, every click once, from the same weights: their losses agree to rounding.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from feedgym.agents import make_agent
from feedgym.env.config import FeedConfig
from feedgym.env.feed import Feed
from feedgym.experiments.benchmarks.training_plain import PlainLog, PlainTowers

VISITS, READERS = 125_000, 2_500
"""A million impressions on slates of 8, in a month; a click then has 10 others in its reader's history, on average."""

KERNELS: dict[str, tuple[str, ...]] = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "softmax": ("_log_softmax", "_log_softmax_backward_data", "nll_loss_forward", "nll_loss_backward"),
    "gathers, copies, fills": (
        *("cat", "copy_", "fill_", "zero_", "index", "index_select", "index_add_", "embedding_dense_backward"),
        *("embedding_bag", "_embedding_bag", "_embedding_bag_forward_only", "_index_put_impl_", "index_put_"),
    ),
}
"""Kernels by what they do; others count as elementwise (the optimiser's too), but for those of ``NO_KERNELS``."""

_NO_KERNELS = (
    "alias arange as_strided clone contiguous cross_entropy_loss detach detach_ embedding embedding_backward "
    "empty empty_like empty_strided expand flatten index_select_backward is_nonzero item lift_fresh "
    "linear _local_scalar_dense log_softmax matmul narrow new_empty new_zeros nll_loss "
    "nll_loss_nd numpy_T ones ones_like permute promote_types ravel reshape _reshape_alias resize_ resolve_conj "
    "resolve_neg result_type scalar_tensor select select_backward slice slice_backward split squeeze stack t to "
    "_to_copy transpose _unsafe_view unsqueeze view view_as zeros zeros_like"
)
NO_KERNELS = frozenset(_NO_KERNELS.split())
"""Operators that compute nothing themselves: they describe memory, make room, or hand on to others."""


@dataclass(frozen=True, kw_only=True)
class TrainingFigures:
    """An epoch of one model, in CPU time."""

    widths: tuple[int, ...]
    dim: int
    batch: int
    """Clicks in a batch."""
    impressions: int
    """In the log."""
    steps: int
    """Of an epoch."""
    step_ms: float
    """CPU milliseconds of a step, median over rounds."""
    plain_ms: float
    """The same of plain torch."""
    ratio: float
    """Of the epochs in one round, median."""
    kernels: float
    """Share of a step spent inside torch's kernels."""
    parts: dict[str, float]
    """Share of each kind of kernel, and of what else there is."""


class Cursor:
    """Stands where the learner expects a generator: its batches then are the log from front to end.

    Args:
        batch: clicks in a batch.
    """

    def __init__(self, batch: int) -> None:
        self.batch, self.start = batch, 0

    def integers(self, low: int, high: int) -> int:
        """Where the next batch starts: ``low`` to ``high`` - 1, for a batch's first click."""
        start, self.start = self.start, self.start + self.batch
        assert low <= start < high
        return start


class Training:
    """An agent with a log that it has not learned from yet, and the same in plain torch."""

    def __init__(self, widths: Sequence[int], dim: int, batch: int, visits: int, readers: int) -> None:
        feed = Feed(FeedConfig(num_readers=readers, days=90.0, tick_hours=1.0), seed=1)
        settings: dict[str, Any] = {"widths": tuple(widths), "dim": dim, "batch_clicks": batch}
        # The textbook's loss, as the plain version has it.
        settings |= {"task": "click", "propensity_cap": None, "negatives_live": False, "train_every_hours": 1e9}
        settings |= {"wide_part": False, "content_channel": False}
        agent: Any = make_agent("contrastive", **settings, replay_visits=2 * visits).start(feed)
        self.agent = agent
        while agent._replay.total < visits and not feed.done:
            agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
        self.impressions = int(np.count_nonzero(agent._replay.column("article_id") >= 0))
        self.batch, self.num_clicks = batch, len(agent._replay.clicked()[0])
        agent.begin_training(feed.now)
        self.plain = PlainTowers(plain_log(agent), [t.shape[0] for t in agent.model.item_features.tables], widths, dim)
        copy_weights(agent.model, self.plain)
        # fused, as the agent's own.
        c = agent.config.optimiser
        self._optimiser = torch.optim.AdamW(
            self.plain.parameters(), lr=c.learning_rate, weight_decay=c.weight_decay, fused=True
        )

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.num_clicks // self.batch

    def epoch(self, steps: int | None = None) -> list[float]:
        """Losses of each step over all clicks in their order (or the first ``steps``), by the agent."""
        self.agent._rng = Cursor(self.batch)
        return [self.agent.step() for _ in range(self.steps if steps is None else steps)]

    def plain_epoch(self, steps: int | None = None) -> list[float]:
        """The same in plain torch."""
        losses = []
        for step in range(self.steps if steps is None else steps):
            loss = self.plain(slice(step * self.batch, (step + 1) * self.batch))
            self._optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self._optimiser.step()
            losses.append(float(loss.detach()))
        return losses


def plain_log(agent: Any) -> PlainLog:
    """The clicks in an agent's replay, and its store's articles, as tensors."""
    slots, positions = agent._replay.clicked()
    batch, store, size = agent._replay.take(slots), agent.store, len(agent.store)
    vectors = torch.from_numpy(store.click_vector[:size].copy())
    with torch.no_grad():
        return PlainLog(
            article=torch.from_numpy(batch.article_id[np.arange(len(slots)), positions]),
            hours=torch.from_numpy(batch.now),
            log_q=torch.from_numpy(agent._learner._log_q[: len(slots)].astype(np.float32)),
            reader=agent.model.reader_features(torch.from_numpy(batch.reader)),
            history=torch.from_numpy(np.where(batch.history_id >= 0, batch.history_id, size)),
            numeric=agent.model.item_features.numeric(torch.from_numpy(store.numeric[:size])),
            category=torch.from_numpy(store.categorical[:size].copy()),
            published=torch.from_numpy(store.published_hours[:size].copy()),
            click_vector=torch.cat([vectors, torch.zeros(1, vectors.shape[1])]),
        )


@torch.no_grad()
def copy_weights(model: Any, plain: PlainTowers) -> None:
    """Let the plain model start where ``model``, a ``TwoTower``, is."""
    plain.item.load_state_dict(model.item_tower.state_dict())
    plain.user.load_state_dict(model.user_tower.state_dict())
    plain.empty.copy_(model.history.empty)
    for table, weight in zip(plain.tables, model.item_features.tables, strict=True):
        table.load_state_dict({"weight": weight})


def kernel_shares(work: Callable[[], object]) -> dict[str, float]:
    """Where the time of ``work`` goes: kinds of kernels, ``torch besides kernels`` and ``the rest``, which sum to 1.

    The profiler counts the wall clock of one thread, so the whole is measured by it too: both wait alike where others
    have the core. Its own work, a microsecond for each operator, is in all parts.
    """
    kind_of = {f"aten::{name}": kind for kind, names in KERNELS.items() for name in names}
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        start = time.perf_counter()
        work()
        total = 1e6 * (time.perf_counter() - start)
    shares = dict.fromkeys([*KERNELS, "elementwise, sums", "torch besides kernels", "the rest"], 0.0)
    for event in profiled.key_averages():
        name = event.key
        # What of Python runs inside the optimiser's own records is not torch's.
        if name.startswith("Optimizer."):
            continue
        other = name.removeprefix("aten::") in NO_KERNELS or not name.startswith("aten::")
        kind = kind_of.get(name, "torch besides kernels" if other else "elementwise, sums")
        shares[kind] += event.self_cpu_time_total / total
    shares["the rest"] = 1.0 - sum(shares.values())
    return shares


def measure(
    widths: Sequence[int], dim: int, batch: int, rounds: int, visits: int = VISITS, readers: int = READERS
) -> TrainingFigures:
    """Epochs by the agent and in plain torch in turn, ``rounds`` of each."""
    torch.set_num_threads(1)
    training = Training(widths, dim, batch, visits, readers)
    few = min(3, training.steps)
    training.epoch(few), training.plain_epoch(few)  # first-time costs are not what is asked for
    seconds: list[tuple[float, float]] = []
    for _ in range(rounds):
        marks = [time.process_time()]
        for epoch in (training.epoch, training.plain_epoch):
            epoch()
            marks.append(time.process_time())
        seconds.append((marks[1] - marks[0], marks[2] - marks[1]))
    shares = kernel_shares(lambda: training.epoch(min(20, training.steps)))
    return TrainingFigures(
        widths=tuple(widths),
        dim=dim,
        batch=batch,
        impressions=training.impressions,
        steps=training.steps,
        step_ms=1e3 * statistics.median(ours for ours, _ in seconds) / training.steps,
        plain_ms=1e3 * statistics.median(plain for _, plain in seconds) / training.steps,
        ratio=statistics.median(ours / plain for ours, plain in seconds),
        kernels=sum(shares[kind] for kind in (*KERNELS, "elementwise, sums")),
        parts=shares,
    )
