"""The benchmark of training compares like with like, and counts as kernels what is one."""

import time

import numpy as np
import pytest
import torch

from feedgym.experiments.benchmarks.training import Cursor, Training, kernel_shares, measure
from helpers.inside import learner_of, replay_of


@pytest.fixture(scope="module")
def training() -> Training:
    torch.set_num_threads(1)
    return Training((16, 8), 4, 32, 1500, 60)


def test_plain_torch_is_the_same_model_with_the_same_loss_and_steps(training: Training) -> None:
    first = training.agent.model.item_tower[0].weight
    before = first.detach().clone()
    ours, plain = training.epoch(8), training.plain_epoch(8)
    np.testing.assert_allclose(ours, plain, rtol=2e-5)
    # The optimisers' steps too: by AdamW each weight has moved by up to 8 times the rate.
    assert (first - before).abs().max() > 0.01
    torch.testing.assert_close(first, training.plain.item.state_dict()["0.weight"], rtol=0, atol=2e-4)
    log = training.plain.log
    assert len(log.article) == training.num_clicks
    assert (log.history[:, 0] < len(log.numeric)).any()  # readers with a history are among them


def test_the_steps_of_an_epoch_take_every_click_once(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, taken = learner_of(training.agent), []
    stretch = learner._stretch

    def recorded(replay: object, rng: Cursor) -> object:
        clicks = stretch(replay, rng)
        taken.append((clicks.slots, clicks.positions))
        return clicks

    monkeypatch.setattr(learner, "_stretch", recorded)
    assert len(training.epoch()) == training.steps
    used = training.steps * training.batch
    assert used > training.num_clicks - training.batch
    for part, whole in zip(zip(*taken, strict=True), replay_of(training.agent).clicked(), strict=True):
        np.testing.assert_array_equal(np.concatenate(part), whole[:used])


def test_time_in_kernels_is_told_from_time_outside() -> None:
    torch.set_num_threads(1)
    matrix, logits = torch.ones(400, 400), torch.zeros(600, 600, requires_grad=True)
    own = torch.arange(600)

    def python() -> None:
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            pass

    def losses() -> None:
        for _ in range(10):
            torch.autograd.backward(torch.nn.functional.cross_entropy(logits, own))

    def views() -> None:
        for _ in range(3000):
            matrix.t()

    products = kernel_shares(lambda: [matrix @ matrix for _ in range(20)])
    softmax = kernel_shares(losses)
    # The largest of the kernels: how much of the clock is theirs depends on who else is on the machine.
    outside = ("torch besides kernels", "the rest")
    for shares, kind in ((products, "matrix products"), (softmax, "softmax")):
        kernels = {name: share for name, share in shares.items() if name not in outside}
        assert max(kernels, key=lambda name: kernels[name]) == kind
        assert sum(kernels.values()) > 0.1
    assert kernel_shares(python)["the rest"] > 0.9
    seen = kernel_shares(views)
    assert sum(seen[name] for name in outside) > 0.9
    assert sum(softmax.values()) == pytest.approx(1.0)


def test_figures_of_a_small_size() -> None:
    figures = measure((16,), 4, 32, 1, 600, 60)
    assert figures.impressions > 2000
    assert figures.steps >= 2
    assert min(figures.step_ms, figures.plain_ms) > 0
    assert figures.ratio == pytest.approx(figures.step_ms / figures.plain_ms)
    assert 0 < figures.kernels < 1
    assert sum(figures.parts.values()) == pytest.approx(1.0)
