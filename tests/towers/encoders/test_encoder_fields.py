"""An article from its fields: shapes, start, gradients, and an interaction of two fields that is learned."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from feedgym.towers.encoders import FieldAttention
from helpers.draws import seeded

DIMS = (5, 3, 3)


def fields(rows: int, seed: int = 1) -> list[torch.Tensor]:
    generator = seeded(seed)
    return [torch.randn(rows, dim, generator=generator) for dim in DIMS]


def test_shapes_and_the_spread_of_the_start() -> None:
    for times in (1, 6):  # a mean of 18 tokens is quiet, its norm is not
        net = FieldAttention(DIMS * times, 32, 2, 16, seeded(), out_gain=0.5)
        out = net([field for seed in range(times) for field in fields(400, seed)])
        assert out.shape == (400, 32)
        assert net.last.weight.shape == (32, 16)
        assert out.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.15)
    net = FieldAttention(DIMS, 32, 2, 16, seeded())
    assert net(fields(0)).shape == (0, 32)
    with torch.no_grad():
        net.last.weight.zero_()
        net.last.bias.fill_(3.0)
    assert net(fields(4)).equal(torch.full((4, 32), 3.0))  # the output layer is the last thing


def test_a_batch_of_one_equals_its_row() -> None:
    net = FieldAttention(DIMS, 4, 2, 8, seeded())
    batch = fields(6)
    singles = torch.cat([net([field[i : i + 1] for field in batch]) for i in range(6)])
    torch.testing.assert_close(singles, net(batch), atol=1e-6, rtol=1e-6)


def test_fields_are_told_apart() -> None:
    net: Any = FieldAttention(DIMS, 4, 2, 8, seeded())
    first, second, third = fields(6)
    assert (net([first, second, third]) - net([first, third, second])).abs().max() > 0.05
    with torch.no_grad():
        net.projections[2].weight.copy_(net.projections[1].weight)
    assert (net([first, second, third]) - net([first, third, second])).abs().max() > 0.01


def test_gradients_are_those_of_the_function() -> None:
    net = FieldAttention((2, 1), 2, 2, 4, seeded()).double()
    names, parameters = zip(*net.named_parameters(), strict=True)
    generator = seeded(2)
    inputs = [torch.randn(3, d, dtype=torch.float64, generator=generator).requires_grad_() for d in (2, 1)]

    def encode(first: torch.Tensor, second: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), ([first, second],))

    assert torch.autograd.gradcheck(encode, (*inputs, *parameters))


def test_start_depends_on_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    one, same = (FieldAttention(DIMS, 4, 2, 8, seeded(1)) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one(fields(3)).equal(same(fields(3)))
    assert not one(fields(3)).equal(FieldAttention(DIMS, 4, 2, 8, seeded(2))(fields(3)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_interaction_of_two_fields_is_learned(seed: int) -> None:
    """The sign of a product of two fields, of which no linear map of the fields knows anything."""
    generator = seeded(seed)
    net = FieldAttention((2, 2), 1, 2, 16, generator)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(301):
        first, second = (torch.randn(256, 2, generator=generator) for _ in range(2))
        answer = first[:, 0] * second[:, 0] > 0
        logit = net([first, second])[:, 0]
        loss = F.binary_cross_entropy_with_logits(logit, answer.float())
        optimiser.zero_grad()
        loss.backward()
        if step < 300:
            optimiser.step()
    assert ((logit > 0) == answer).float().mean() > 0.85


def test_refusals() -> None:
    net = FieldAttention(DIMS, 4, 2, 8, seeded())
    for call, message in (
        (lambda: net(fields(2)[:2]), "fields: got 2, needs 3 fields"),
        (lambda: net([*fields(2)[:2], torch.ones(3, 3)]), r"fields\[2\]: got shape"),
        (lambda: FieldAttention((), 4, 2, 8, seeded()), "field_dims"),
        (lambda: FieldAttention((3, 0), 4, 2, 8, seeded()), "field_dims"),
        (lambda: FieldAttention(DIMS, 4, 3, 8, seeded()), "heads: got 3, needs a divisor of the width 8"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
