"""Scores that retrieval can search by: values, gradients at the awkward places, the bound of the cosine's scale."""

import math

import pytest
import torch
from torch import Tensor

from feedgym.towers.losses import bce_loss
from feedgym.towers.prediction import PREDICTIONS, CosinePrediction, DotPrediction, Prediction, dot_score

every_prediction = pytest.mark.parametrize("make", PREDICTIONS.values(), ids=PREDICTIONS)


def vectors(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_values() -> None:
    user, item = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, -2.0], [6.0, 8.0]])
    bias = torch.tensor([0.5, 0.0, -1.0])
    dot, cosine = DotPrediction(), CosinePrediction(initial_scale=5.0)
    assert dot(user, item, bias, pairs=True).tolist() == [[3.5, -8.0, 49.0]]
    torch.testing.assert_close(cosine(user, item, bias, pairs=True), torch.tensor([[3.5, -4.0, 4.0]]))
    for module in (dot, cosine):
        before = module(user, item, bias, pairs=True)
        module.start_at_rate(0.02)
        torch.testing.assert_close(module(user, item, bias, pairs=True), before + math.log(0.02 / 0.98))
        module.start_at_mean(1.5)
        torch.testing.assert_close(module(user, item, bias, pairs=True), before + 1.5)


@every_prediction
def test_what_an_index_computes_is_the_score(make: type[Prediction]) -> None:
    module = make().double()
    module.start_at_mean(0.7)
    user, item, bias = vectors(5, 4), vectors(9, 4, seed=2), vectors(9, seed=3)
    pairs = module(user, item, bias, pairs=True)
    assert module.mips
    torch.testing.assert_close(module.users(user) @ module.items(item).T + bias + 0.7, pairs)
    slate = torch.randint(9, (5, 3), generator=torch.Generator().manual_seed(4))
    slates = module(user, item[slate], bias[slate], pairs=False)
    torch.testing.assert_close(slates, pairs.gather(1, slate))
    rows = module(user, item[slate[:, 0]], bias[slate[:, 0]], pairs=False)
    torch.testing.assert_close(rows, slates[:, 0])
    for row in range(5):
        torch.testing.assert_close(module(user[row : row + 1], item, bias, pairs=True)[0], pairs[row])


@every_prediction
def test_gradients_reach_both_sides_and_the_biases(make: type[Prediction]) -> None:
    module = make().double()
    inputs = [x.requires_grad_() for x in (vectors(3, 4), vectors(3, 2, 4, seed=2), vectors(3, 2, seed=3))]
    parameters = list(module.parameters())

    def score(*args: Tensor) -> Tensor:
        return module(*args[:3], pairs=False)

    # The module's own parameters are inputs too: gradcheck moves them in place.
    assert torch.autograd.gradcheck(score, (*inputs, *parameters))
    module(*inputs, pairs=False).square().sum().backward()
    for tensor in (*inputs, *parameters):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_cosine_ignores_lengths_and_dot_does_not() -> None:
    user, item, bias = vectors(3, 4), vectors(3, 4, seed=2), vectors(3, seed=3)
    cosine, dot = CosinePrediction().double(), DotPrediction().double()
    torch.testing.assert_close(cosine(7 * user, 0.01 * item, bias, pairs=False), cosine(user, item, bias, pairs=False))
    assert not torch.allclose(dot(7 * user, 0.01 * item, bias, pairs=False), dot(user, item, bias, pairs=False))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_vectors_score_their_bias_and_have_finite_gradients(dtype: torch.dtype) -> None:
    module = CosinePrediction().to(dtype)
    user = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
    item = torch.tensor([[0.0] * 4, [1.0, 2.0, 0.0, -1.0]], dtype=dtype, requires_grad=True)
    score = module(user, item, torch.ones(2, dtype=dtype), pairs=False)
    assert score.tolist() == [1.0, 1.0]
    score.sum().backward()
    for gradient in (user.grad, item.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert user.grad is not None
    assert user.grad[1].abs().max() > 0  # a reader at zero is not stuck there


def test_the_scale_starts_as_told_and_never_exceeds_100() -> None:
    for start in (0.1, 10.0, 99.0):
        assert CosinePrediction(start).scale.item() == pytest.approx(start, rel=1e-4)
    module = CosinePrediction()
    for sign in (-1.0, 1.0):  # up as far as it goes, then down again
        optimiser = torch.optim.Adam([module.scale_logit], lr=0.5)
        for _ in range(40):
            optimiser.zero_grad()
            (sign * module.scale).backward()
            optimiser.step()
            assert 0 < module.scale.item() <= 100
        if sign < 0:
            assert module.scale.item() > 99
    assert module.scale.item() < 10


def test_the_scale_is_learned_from_clicks() -> None:
    generator = torch.Generator().manual_seed(5)
    user, item = (torch.randn(20_000, 3, generator=generator) for _ in range(2))
    truth = 6 * torch.nn.functional.cosine_similarity(user, item) - 1
    clicked = torch.rand(20_000, generator=generator) < truth.sigmoid()
    module = CosinePrediction(initial_scale=1.0)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(150):
        loss = bce_loss(module(user, item, torch.zeros(20_000), pairs=False), clicked)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert module.scale.item() == pytest.approx(6, rel=0.06)
    assert module.global_bias.item() == pytest.approx(-1, abs=0.1)


def test_state_is_the_parameters() -> None:
    first, second = CosinePrediction(3.0), CosinePrediction()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.scale, second.scale)
    assert set(DotPrediction().state_dict()) == {"global_bias"}


def test_refusals() -> None:
    one = torch.ones(1, 2)
    for call, message in (
        (lambda: CosinePrediction(0.0), "initial_scale: got 0.0"),
        (lambda: CosinePrediction(100.0), "initial_scale: got 100.0"),
        (lambda: CosinePrediction().start_at_rate(1.0), "rate: got 1.0"),
        (lambda: DotPrediction().start_at_mean(math.nan), "mean: got nan"),
        (lambda: dot_score(one, torch.ones(3, 3), torch.ones(3), pairs=True), "item: got shape"),
        (lambda: CosinePrediction()(one, one, torch.ones(2), pairs=False), "bias: got shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
