"""Training on all clicks of a history: states that see older clicks only, and states of hidden clicks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from feedgym.towers.encoders import HISTORY_ENCODERS, BERT4Rec, CausalEncoder, make_history_encoder
from helpers.draws import seeded
from helpers.towers import lively

LENGTHS = torch.tensor([6, 4, 1, 0])
CAUSAL = ("gru", "sasrec")


def make(name: str, **settings: Any) -> Any:
    encoder = lively(make_history_encoder(name, 5, 8, generator=seeded(3), **settings), 4)
    assert isinstance(encoder, CausalEncoder | BERT4Rec)
    return encoder


def histories() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 6, 5, generator=seeded(1)), torch.arange(6) < LENGTHS[:, None]


def influence(states: Tensor, vectors: Tensor) -> Tensor:
    """Whether place l's state depends on place j's click, of a batch of one: bool (L, L)."""
    rows = []
    for place in range(states.shape[1]):
        total = states[0, place].square().sum()
        rows.append(torch.autograd.grad(total, vectors, retain_graph=True)[0][0].abs().amax(dim=1) > 0)
    return torch.stack(rows)


def test_names_say_what_can_be_trained_on() -> None:
    trains = {name: make_history_encoder(name, 4, 4, generator=seeded()).trains_on for name in HISTORY_ENCODERS}
    assert trains == {
        "mean": "none",
        "attention": "none",
        "nrms": "none",
        "gru": "next",
        "sasrec": "next",
        "bert4rec": "masked",
    }


@pytest.mark.parametrize("name", CAUSAL)
def test_next_states_see_strictly_older_clicks_and_all_of_them(name: str) -> None:
    encoder = make(name)
    vectors = torch.randn(1, 6, 5, generator=seeded(2), requires_grad=True)
    seen = influence(encoder.next_states(vectors, torch.ones(1, 6, dtype=torch.bool)), vectors)
    assert seen.equal(torch.ones(6, 6).triu(1).bool())  # newest first: older is to the right


@pytest.mark.parametrize("name", CAUSAL)
def test_next_states_are_what_serving_computes(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    states = encoder.next_states(vectors, mask)
    assert states.shape == (4, 6, 8)
    torch.testing.assert_close(states[:, 0], encoder(vectors[:, 1:], mask[:, 1:]))
    if name == "gru":  # no positions: every place is a history of its own
        for place in range(6):
            torch.testing.assert_close(states[:, place], encoder(vectors[:, place + 1 :], mask[:, place + 1 :]))
    empty = torch.arange(6) >= LENGTHS[:, None] - 1  # the oldest click, and padding
    assert states[empty].equal(encoder.empty.expand(int(empty.sum()), 8))
    assert len(states[~empty].unique(dim=0)) == int((~empty).sum())


@pytest.mark.parametrize("name", CAUSAL)
def test_next_states_ignore_padding(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    states = encoder.next_states(vectors, mask)
    garbage = torch.where(mask[:, :, None], vectors, 1e30)
    torch.testing.assert_close(encoder.next_states(garbage, mask), states, atol=2e-6, rtol=1e-5)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder.next_states(vectors[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(alone[0], states[row, :length], atol=2e-6, rtol=1e-5)


def test_masked_states_see_all_that_is_not_hidden() -> None:
    encoder = make("bert4rec")
    vectors = torch.randn(1, 6, 5, generator=seeded(2), requires_grad=True)
    hidden = torch.tensor([[False, True, False, False, True, False]])
    seen = influence(encoder.masked_states(vectors, torch.ones(1, 6, dtype=torch.bool), hidden), vectors)
    assert seen.equal(~hidden.expand(6, 6))


def test_masked_states_are_what_serving_computes() -> None:
    encoder = make("bert4rec")
    vectors, mask = histories()
    newest = torch.zeros_like(mask)
    newest[:, 0] = True
    states = encoder.masked_states(vectors, mask, newest)
    torch.testing.assert_close(states[:3, 0], encoder(vectors[:3, 1:], mask[:3, 1:]))
    garbage = torch.where(mask[:, :, None], vectors, 1e30)
    everywhere = newest | ~mask  # to hide padding is nothing
    torch.testing.assert_close(encoder.masked_states(garbage, mask, everywhere), states, atol=2e-6, rtol=1e-5)
    assert states[~mask].abs().sum() == 0
    assert encoder.masked_states(vectors[:, :0], mask[:, :0], mask[:, :0]).shape == (4, 0, 8)


@pytest.mark.parametrize("name", [*CAUSAL, "bert4rec"])
def test_one_click_more_than_the_encoder_holds_can_be_predicted(name: str) -> None:
    vectors, mask = histories()

    def call(length: int) -> Tensor:
        encoder = make(name, max_length=length)
        if isinstance(encoder, BERT4Rec):
            return encoder.masked_states(vectors, mask, mask)
        return encoder.next_states(vectors, mask)

    assert call(5).shape == (4, 6, 8)
    with pytest.raises(ValueError, match=r"history_mask: got 'length 6', needs <= max_length \+ 1 = 5"):
        call(4)


def test_refusals() -> None:
    vectors, mask = histories()
    with pytest.raises(ValueError, match="hidden: got shape"):
        make("bert4rec").masked_states(vectors, mask, mask[:, :2])
    with pytest.raises(ValueError, match="rows with a gap"):
        make("gru").next_states(vectors, mask.flip(1))
