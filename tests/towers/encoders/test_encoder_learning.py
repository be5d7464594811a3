"""What each history encoder can learn that a simpler one cannot, as margins over seeds.

Every task is a yes or no about a history, told from the encoding by one linear layer, so that it is the
encoder that must find it. Half of the answers are yes.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from feedgym.towers.encoders import make_history_encoder
from feedgym.towers.features import linear

SEEDS = (0, 1, 2)
LENGTH = 6
DIM = 8
Task = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


def noise(rows: int, generator: torch.Generator) -> Tensor:
    """Clicks (rows, LENGTH, DIM) of small noise, to write marks into."""
    return 0.3 * torch.randn(rows, LENGTH, DIM, generator=generator)


def two_places(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two different places of each history, (rows,) each."""
    places = torch.rand(rows, LENGTH, generator=generator).argsort(dim=1)
    return places[:, 0], places[:, 1]


def which_came_last(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Both of two marked clicks are there; the answer is which of them is the newer one."""
    vectors, every = noise(rows, generator), torch.arange(rows)
    first, second = two_places(rows, generator)
    vectors[every, first, 0] += 2
    vectors[every, second, 1] += 2
    return vectors, first < second


def exactly_one(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Whether just one of two marked clicks is there. Weighing clicks one by one is right in 3 of 4 cases at best."""
    vectors, every = noise(rows, generator), torch.arange(rows)
    first, second = two_places(rows, generator)
    has = torch.rand(rows, 2, generator=generator) < 0.5
    vectors[every, first, 0] += 2.0 * has[:, 0]
    vectors[every, second, 1] += 2.0 * has[:, 1]
    return vectors, has[:, 0] != has[:, 1]


def the_telling_click(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """All clicks say plus or minus, but only the marked one counts."""
    vectors, every = noise(rows, generator), torch.arange(rows)
    says = torch.rand(rows, LENGTH, generator=generator) < 0.5
    place, _ = two_places(rows, generator)
    vectors[:, :, 0] += 2.0 * says - 1.0
    vectors[every, place, 1] += 2
    return vectors, says[every, place]


def accuracy(name: str, task: Task, seed: int, steps: int) -> float:
    """Share of right answers on fresh histories, after ``steps`` batches of 256."""
    generator = torch.Generator().manual_seed(seed)
    encoder = make_history_encoder(name, DIM, DIM, generator=generator, layers=1, max_length=LENGTH)
    head = linear(DIM, 1, 1.0, generator)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.01)
    mask = torch.ones(2000, LENGTH, dtype=torch.bool)
    for _ in range(steps):
        vectors, answer = task(256, generator)
        logit = head(encoder(vectors, mask[:256]))[:, 0]
        loss = F.binary_cross_entropy_with_logits(logit, answer.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        vectors, answer = task(2000, generator)
        logit = head(encoder(vectors, mask))[:, 0]
    return float(((logit > 0) == answer).float().mean())


@pytest.mark.parametrize("name", ["gru", "sasrec", "bert4rec"])
def test_sequence_encoders_learn_what_came_last(name: str) -> None:
    for seed in SEEDS:
        assert accuracy(name, which_came_last, seed, 150) > 0.9


@pytest.mark.parametrize("name", ["mean", "attention", "nrms"])
def test_encoders_of_sets_cannot_tell_what_came_last(name: str) -> None:
    for seed in SEEDS:
        assert accuracy(name, which_came_last, seed, 60) < 0.55  # .5 +- .011


def test_self_attention_learns_an_interaction_of_two_clicks() -> None:
    for seed in SEEDS:
        weaker = max(accuracy(name, exactly_one, seed, 250) for name in ("mean", "attention"))
        assert accuracy("nrms", exactly_one, seed, 250) > max(0.9, weaker + 0.1)


def test_additive_attention_finds_the_click_that_tells() -> None:
    for seed in SEEDS:
        assert accuracy("attention", the_telling_click, seed, 150) > 0.9
        assert accuracy("mean", the_telling_click, seed, 150) < 0.75
