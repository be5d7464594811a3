"""The second stage: starts at the first stage's score, learns what an inner product cannot, and takes positions out."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from feedgym.towers.losses import bce_loss
from feedgym.towers.rerankers import RERANKERS, LogisticReranker, MlpReranker, Reranker, num_features, rerank_features
from helpers.towers import lively

every_reranker = pytest.mark.parametrize("name", RERANKERS)
Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def make(name: str, dim: int = 3, num_positions: int = 4) -> Reranker:
    generator = torch.Generator().manual_seed(1)
    if name == "mlp":  # small, for speed
        return MlpReranker(dim, num_positions, generator, widths=(8,))
    return RERANKERS[name](dim, num_positions, generator)


def inputs(dtype: torch.dtype = torch.float32) -> Inputs:
    """Score (5, 4), user (5, 3), item (5, 4, 3), age (5, 4)."""
    g = torch.Generator().manual_seed(3)
    score, user, item = (torch.randn(*shape, generator=g, dtype=dtype) for shape in ((5, 4), (5, 3), (5, 4, 3)))
    return score, user, item, 48 * torch.rand(5, 4, generator=g, dtype=dtype)


def test_features_by_hand() -> None:
    features = rerank_features(
        torch.tensor([[0.7]]),
        torch.tensor([[2.0, -1.0]]),
        torch.tensor([[[0.5, 3.0]]]),
        torch.tensor([[8.0]]),
        torch.tensor([[2]]),
        4,
    )
    ages = [*torch.exp(torch.tensor([-4.0, -1.0, -0.25])).tolist(), torch.log(torch.tensor(9.0)).item()]
    assert features.shape == (1, 1, num_features(2, 4))
    assert features[0, 0].tolist() == pytest.approx([0.7, 1.0, -3.0, 1.5, 4.0, *ages, 0.0, 1.0, 0.0])


@every_reranker
def test_starts_at_the_first_stage(name: str) -> None:
    score, *rest = inputs()
    assert torch.equal(RERANKERS[name](3, 4, torch.Generator().manual_seed(1))(score, *rest), score)
    assert torch.equal(make(name)(score, *rest), score)
    assert torch.equal(make(name)(score, *rest, torch.arange(4)), score)
    assert not torch.allclose(lively(make(name), 2)(score, *rest), score)


@every_reranker
def test_serving_is_position_0(name: str) -> None:
    module = lively(make(name), 2)
    served = module(*inputs())
    assert torch.equal(served, module(*inputs(), torch.zeros(5, 4, dtype=torch.int64)))
    placed = module(*inputs(), torch.arange(4))
    assert torch.equal(placed, module(*inputs(), torch.arange(4).expand(5, 4)))
    torch.testing.assert_close(placed[:, 0], served[:, 0])
    assert ((placed - served)[:, 1:].abs() > 1e-3).all()


@every_reranker
def test_a_batch_of_one_equals_its_row_and_order_does_not_matter(name: str) -> None:
    module = lively(make(name), 2)
    place = torch.randint(4, (5, 4), generator=torch.Generator().manual_seed(4))
    together = module(*inputs(), place)
    for row in range(5):
        alone = module(*(x[row : row + 1] for x in (*inputs(), place)))
        torch.testing.assert_close(alone[0], together[row])
    score, user, item, age = inputs()
    turned = module(score.flip(1), user, item.flip(1), age.flip(1), place.flip(1))
    torch.testing.assert_close(turned.flip(1), together)


@every_reranker
def test_gradients_reach_score_both_vectors_and_all_parameters(name: str) -> None:
    module = lively(make(name), 2).double()
    tensors = [x.requires_grad_() for x in inputs(torch.float64)]
    place = torch.arange(4)
    assert torch.autograd.gradcheck(lambda *x: module(*x[:4], place), (*tensors, *module.parameters()))
    module(*tensors, place).square().sum().backward()
    for tensor in (*tensors, *module.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@every_reranker
def test_awkward_inputs_stay_finite(name: str) -> None:
    module = lively(make(name), 2)
    user, item = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 4, 3, requires_grad=True)
    age = torch.tensor([-5.0, 0.0, 1e4, 1e7]).expand(2, 4)  # a clock that is behind; the archive
    logits = module(torch.zeros(2, 4), user, item, age)
    logits.sum().backward()
    for tensor in (logits, user.grad, item.grad):
        assert tensor is not None
        assert tensor.isfinite().all()
    assert torch.equal(logits[:, 0], logits[:, 1])  # younger than 0 is 0
    assert module(torch.zeros(0, 4), user[:0], item[:0], age[:0], torch.zeros(0, 4, dtype=torch.int64)).shape == (0, 4)


@every_reranker
def test_start_depends_on_the_generator_alone_and_state_is_the_parameters(name: str) -> None:
    before = torch.random.get_rng_state()
    first = make(name)
    assert torch.equal(before, torch.random.get_rng_state())
    for key, tensor in make(name).state_dict().items():
        assert torch.equal(tensor, first.state_dict()[key])
    other = make(name)
    other.load_state_dict(lively(first, 2).state_dict())
    assert torch.equal(other(*inputs()), first(*inputs()))


def fit(
    module: Reranker, batch: Inputs, clicked: Tensor, position: Tensor | None, weight: Tensor | None = None
) -> float:
    """Full-batch LBFGS on the click loss; returns the loss."""
    optimiser = torch.optim.LBFGS(module.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = bce_loss(module(*batch, position), clicked, weight=weight)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(closure().detach())


def slates_of(order: Tensor, num_articles: int) -> Inputs:
    """Slates of articles whose vectors are one-hot, for one kind of reader; all of age 0, first stage blind."""
    item = torch.eye(num_articles, dtype=torch.float64)[order]
    user = torch.ones(len(order), num_articles, dtype=torch.float64)
    blank = torch.zeros(order.shape, dtype=torch.float64)
    return blank, user, item, blank


def appeal_of_articles(module: Reranker, num_articles: int) -> Tensor:
    """Served logits of all articles side by side."""
    with torch.no_grad():
        return module(*slates_of(torch.arange(num_articles)[None], num_articles))[0]


@every_reranker
def test_position_bias_is_learned_in_training_and_left_out_in_serving(name: str) -> None:
    """The site shows its worst article on top and its best below: only the position tells why the worst is clicked."""
    generator = torch.Generator().manual_seed(5)
    appeal = torch.tensor([-2.0, -1.5, -1.0, -0.5], dtype=torch.float64)  # as clicked on top
    effect = torch.tensor([0.0, -0.7, -1.4, -2.1], dtype=torch.float64)
    # Worst first, with enough noise that every article is seen everywhere.
    order = (appeal + torch.randn(5000, 4, generator=generator)).argsort(dim=1)
    clicked = torch.rand(5000, 4, generator=generator) < (appeal[order] + effect).sigmoid()
    batch = slates_of(order, 4)

    aware, blind = make(name, dim=4).double(), make(name, dim=4).double()
    loss = fit(aware, batch, clicked, torch.arange(4))
    blind_loss = fit(blind, batch, clicked, None)
    served = appeal_of_articles(aware, 4)
    assert served.argsort().tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(served, appeal, atol=0.25, rtol=0)
    if isinstance(aware, LogisticReranker):
        torch.testing.assert_close(aware.position_logit, effect, atol=0.2, rtol=0)
    # The control: without the position feature the good articles are thought bad.
    assert (appeal_of_articles(blind, 4) - appeal).abs().max() > 0.5
    assert appeal_of_articles(blind, 4)[3] - appeal_of_articles(blind, 4)[0] < 1.0 < 1.3 < served[3] - served[0]
    assert loss < blind_loss - 0.005


def test_an_additive_position_comes_close_to_examination() -> None:
    """Clicks are theta_k * c, enumerated (docs/mathematics.md 6.6): additive logits err by .017 in c, .11 without."""
    c = torch.tensor([0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    theta = torch.tensor([1.0, 0.6, 0.3], dtype=torch.float64)
    slates = torch.tensor(list(permutations(range(4), 3)))
    pull = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    picked = pull[slates]
    left = pull.sum() - torch.cat([torch.zeros(24, 1), picked.cumsum(dim=1)[:, :2]], dim=1)
    share = (picked / left).prod(dim=1)  # Plackett-Luce
    weight = share[:, None].expand(24, 3)
    module, blind = LogisticReranker(4, 3).double(), LogisticReranker(4, 3).double()
    fit(module, slates_of(slates, 4), theta * c[slates], torch.arange(3), weight)
    fit(blind, slates_of(slates, 4), theta * c[slates], None, weight)
    assert appeal_of_articles(module, 4).sigmoid().tolist() == pytest.approx([0.489, 0.310, 0.217, 0.114], abs=6e-4)
    assert appeal_of_articles(blind, 4).sigmoid().tolist() == pytest.approx([0.390, 0.189, 0.103, 0.050], abs=6e-4)


def clicks(logit: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(logit.shape, generator=generator) < logit.sigmoid()


def pairs_of_vectors(generator: torch.Generator) -> Inputs:
    user, item = torch.randn(1500, 2, generator=generator), torch.randn(1500, 6, 2, generator=generator)
    score = (user[:, None] * item).sum(dim=2)
    return score, user, item, 24 * torch.rand(1500, 6, generator=generator)


def test_logistic_learns_a_distance_that_the_inner_product_does_not_hold() -> None:
    generator = torch.Generator().manual_seed(6)
    batch = pairs_of_vectors(generator)
    score, user, item, age = batch
    truth = 2.0 - 1.5 * (user[:, None] - item).abs().sum(dim=2) - 0.5 * age.log1p()
    clicked = clicks(truth, generator)
    module = LogisticReranker(2, 1)
    loss = fit(module, batch, clicked, None)
    # The best that score and age can do, with scale and bias: the same module on vectors that say nothing.
    score_alone = fit(LogisticReranker(2, 1), (score, 0 * user, 0 * item, age), clicked, None)
    assert loss < score_alone - 0.04
    torch.testing.assert_close(module.weight[3:5], torch.full((2,), -1.5), atol=0.2, rtol=0)


def test_mlp_learns_an_interaction_that_logistic_does_not() -> None:
    """What is liked turns with age: fresh articles by the score, old ones against it."""
    generator = torch.Generator().manual_seed(7)
    batch = pairs_of_vectors(generator)
    score, _, _, age = batch
    clicked = clicks(2 * score * torch.where(age < 8, 1.0, -1.0), generator)
    linear = fit(LogisticReranker(2, 1), batch, clicked, None)
    deep = fit(MlpReranker(2, 1, torch.Generator().manual_seed(1), widths=(16,)), batch, clicked, None)
    assert deep < linear - 0.1


def test_refusals() -> None:
    score, user, item, age = inputs()
    module = make("logistic")
    for call, message in (
        (lambda: make("logistic", dim=0), "dim: got 0"),
        (lambda: make("mlp", num_positions=0), "num_positions: got 0"),
        (lambda: module(score[0], user, item, age), "score: got"),
        (lambda: module(score, user[:2], item, age), "user: got shape"),
        (lambda: module(score, user, item[:, :2], age), "item: got shape"),
        (lambda: module(score, user, item, age[:, :1]), "age_hours: got shape"),
        (lambda: module(score, user, item, age, torch.zeros(5, 3).long()), "position: got shape"),
        (lambda: module(score, user, item, age, torch.arange(1, 5)), r"position: got \(1, 4\)"),
        (lambda: module(score, user, item, age, torch.arange(-1, 3)), r"position: got \(-1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
