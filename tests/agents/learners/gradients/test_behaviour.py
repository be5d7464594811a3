"""Estimated propensities: what they tend to, and that nothing else learns from them (docs/mathematics.md 3.1)."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from feedgym.agents.learners.gradients.behaviour import BehaviourHead
from feedgym.agents.slate_policy.slates import sample_slates

# Of the toy of docs/mathematics.md 10.2.
INCLUSION = np.array([0.0375, 0.876907609, 0.0375, 0.712668645, 0.427437176, 0.0375, 0.832986570, 0.0375])


def toy_slates(visits: int) -> np.ndarray:
    logits, shortlist = np.tile([1.0, 0.2, -0.5, 0.7], (visits, 1)), np.tile([1, 3, 4, 6], (visits, 1))
    return sample_slates(np.random.default_rng(3), logits, shortlist, np.arange(8), 3, 0.1).article_id


def fitted(head: BehaviourHead, reader: Tensor, article: Tensor, each: Tensor, column: Tensor) -> BehaviourHead:
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = head.loss(reader, article, each, column)
        loss.backward()
        return loss

    optimiser.step(closure)
    return head


def test_learns_inclusion_over_slate_size() -> None:
    """Two kinds of readers; the second kind's logger serves all articles alike."""
    visits = 4000
    uniform = np.random.default_rng(4).permuted(np.tile(np.arange(8), (visits, 1)), axis=1)[:, :3]
    column = torch.from_numpy(np.concatenate([toy_slates(visits), uniform]))
    kind = torch.eye(2).repeat_interleave(visits, dim=0)
    article = torch.eye(8).expand(2 * visits, 8, 8)
    head = fitted(BehaviourHead(2, 8), kind, article, torch.ones(2 * visits, 8), column)
    got = head(torch.eye(2), article[:2], torch.ones(2, 8)).exp().detach().numpy()
    np.testing.assert_allclose(got.sum(axis=1), 1.0, rtol=1e-12)
    for row, expected in enumerate((INCLUSION, np.full(8, 3 / 8))):
        # The maximum likelihood of a saturated softmax is the share of each article in the log.
        share = np.bincount(column[row * visits : (row + 1) * visits].ravel(), minlength=8) / (3 * visits)
        np.testing.assert_allclose(got[row], share, atol=5e-5)
        error = np.sqrt(expected * (1 - expected) / visits)  # of a count that is 0 or 1 a slate
        assert (np.abs(3 * got[row] - expected) < 4 * error + 1e-4).all()


def test_the_shared_encoder_does_not_feel_it() -> None:
    draws = torch.Generator().manual_seed(0)
    encoder, tower, head = nn.Linear(5, 4), nn.Linear(6, 3), BehaviourHead(4, 3)
    for module in (encoder, tower, head.query):
        nn.init.normal_(module.weight, generator=draws)
    raw_reader, raw_article = torch.randn(7, 5, generator=draws), torch.randn(7, 9, 6, generator=draws)
    column = torch.randint(0, 9, (7, 2), generator=draws)

    def gradients(with_head: bool) -> list[Tensor]:
        for module in (encoder, tower, head):
            module.zero_grad()
        reader, article = encoder(raw_reader), tower(raw_article)
        loss = torch.einsum("bd,bcd->bc", reader[:, :3], article).square().mean()
        if with_head:
            loss = loss + 100 * head.loss(reader, article, torch.ones(7, 9), column)
        loss.backward()
        assert all((p.grad is not None and bool(p.grad.abs().max() > 0)) == with_head for p in head.parameters())
        return [p.grad.clone() for module in (encoder, tower) for p in module.parameters() if p.grad is not None]

    alone, both = gradients(False), gradients(True)
    assert len(alone) == len(both) == 4
    for one, other in zip(alone, both, strict=True):
        assert torch.equal(one, other)


def test_a_draw_that_stands_for_three_is_three_articles() -> None:
    head = BehaviourHead(2, 2)
    nn.init.normal_(head.query.weight, generator=torch.Generator().manual_seed(1))
    reader = torch.tensor([[0.3, -1.0]])
    article = torch.tensor([[[1.0, 0.2], [-0.4, 0.7], [9.0, 9.0]]])
    drawn = head(reader, article, torch.tensor([[1.0, 3.0, 0.0]]))[0]
    spelled = head(reader, article[:, [0, 1, 1, 1]], torch.ones(1, 4))[0]
    torch.testing.assert_close(drawn[:2], spelled[:2], rtol=1e-12, atol=0)
    assert drawn[2] == -torch.inf


def test_padding_is_no_impression() -> None:
    head = BehaviourHead(1, 2)
    reader, article = torch.ones(3, 1), torch.tensor([[1.0, 0.0], [0.0, 1.0]]).expand(3, 2, 2)
    each = torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])  # nothing was live at the last visit
    column = torch.tensor([[0, 1], [1, -1], [-1, -1]])
    loss = head.loss(reader, article, each, column)
    assert loss.item() == pytest.approx(np.log(2))
    loss.backward()
    assert head.query.bias.grad is not None
    # Three impressions, two of the second article: the gradient is chance less share.
    np.testing.assert_allclose(head.query.bias.grad, [1 / 2 - 1 / 3, 1 / 2 - 2 / 3], atol=1e-6)
    nothing = head.loss(reader, article, each, torch.full((3, 2), -1))
    assert nothing.item() == 0.0


def test_shapes_that_do_not_fit_are_named() -> None:
    head = BehaviourHead(2, 3)
    with pytest.raises(ValueError, match=r"each: got \(4, 5\), needs shape \(4, 6\)"):
        head(torch.zeros(4, 2), torch.zeros(4, 6, 3), torch.ones(4, 5))
    with pytest.raises(ValueError, match="reader: got"):
        head(torch.zeros(1, 2), torch.zeros(4, 6, 3), torch.ones(4, 6))
    with pytest.raises(ValueError, match="article_dim: got 0"):
        BehaviourHead(2, 0)


def test_making_one_leaves_everybodys_luck_alone() -> None:
    before = torch.get_rng_state()
    head = BehaviourHead(4, 3)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(parameter.any() for parameter in head.parameters())
