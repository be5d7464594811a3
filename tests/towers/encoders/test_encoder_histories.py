"""What every history encoder keeps to: padding, cutting, empty histories, batches of one, gradients, state."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from feedgym.towers.encoders import HISTORY_ENCODERS, HistoryEncoder, make_history_encoder
from feedgym.towers.encoders.history import HistoryConfig
from feedgym.towers.encoders.pooling import AdditivePooling
from feedgym.towers.encoders.self_attention import SelfAttention
from helpers.draws import seeded
from helpers.towers import lively

NAMES = list(HISTORY_ENCODERS)
ORDERED = ("gru", "sasrec", "bert4rec")
LENGTHS = torch.tensor([7, 4, 1, 0, 6])


def make(name: str, in_dim: int = 6, out_dim: int = 8, **settings: Any) -> HistoryEncoder:
    """An encoder whose parameters are all away from zero."""
    return lively(make_history_encoder(name, in_dim, out_dim, generator=seeded(3), **settings), 4)


def histories(length: int = 7, in_dim: int = 6) -> tuple[Tensor, Tensor]:
    mask = torch.arange(length) < LENGTHS[:, None]
    return torch.randn(len(LENGTHS), length, in_dim, generator=seeded(1)), mask


def assert_near(left: Tensor, right: Tensor) -> None:
    torch.testing.assert_close(left, right, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    out = encoder(vectors, mask)
    assert out.shape == (5, encoder.out_dim) == (5, 6 if name == "mean" else 8)
    assert len(out.unique(dim=0)) == 5
    for garbage in (1e30, -3.0):
        filled = torch.where(mask[:, :, None], vectors, garbage).requires_grad_()
        assert_near(encoder(filled, mask), out)
        encoder(filled, mask).square().sum().backward()
        assert filled.grad is not None
        assert (filled.grad == 0).all(dim=2).equal(~mask)
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in encoder.parameters())
    more = torch.cat([vectors, torch.full((5, 9, 6), 5.0)], dim=1)
    assert_near(encoder(more, torch.cat([mask, torch.zeros(5, 9, dtype=torch.bool)], dim=1)), out)
    for row, length in enumerate(LENGTHS.tolist()):
        assert_near(encoder(vectors[row : row + 1, :length], mask[row : row + 1, :length])[0], out[row])


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_equals_its_row(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    out = encoder(vectors, mask)
    singles = torch.cat([encoder(vectors[i : i + 1], mask[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(singles, out, atol=1e-6, rtol=1e-6)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(encoder(vectors[order], mask[order]), out[order], atol=1e-6, rtol=1e-6)
    assert encoder(vectors[:0], mask[:0]).shape == (0, encoder.out_dim)


@pytest.mark.parametrize("name", NAMES)
def test_long_histories_are_cut_at_the_old_end(name: str) -> None:
    encoder = make(name, max_length=4)
    vectors, mask = histories()
    out = encoder(vectors, mask)
    assert_near(encoder(vectors[:, :4], mask[:, :4]), out)
    changed = vectors.clone()
    changed[:, 4:] = 9.0
    assert_near(encoder(changed, mask), out)
    changed[:, 3] = 9.0  # the oldest that counts
    moved = (encoder(changed, mask) - out).abs().amax(dim=1) > 1e-3
    assert moved.tolist() == (LENGTHS > 3).tolist()
    assert len(make(name, max_length=0)(vectors, mask).unique(dim=0)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_readers_without_history_share_a_learned_vector(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    nobody = encoder(vectors, mask)[3]
    assert_near(encoder(vectors[:, :0], mask[:, :0]), nobody.expand(5, -1))
    assert_near(encoder(vectors, torch.zeros_like(mask)), nobody.expand(5, -1))
    target = torch.linspace(-1, 1, encoder.out_dim)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=0.03)
    for _ in range(200):
        loss = (encoder(vectors[3:4], mask[3:4]) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_function(name: str) -> None:
    """In float64, of the clicks and of every parameter, one reader of three without history."""
    encoder = make(name, 3, 4, layers=1 if name != "gru" else 2, max_length=3).double()
    mask = torch.arange(3) < torch.tensor([[3], [2], [0]])
    vectors = torch.randn(3, 3, 3, dtype=torch.float64, generator=seeded(2), requires_grad=True)
    names, parameters = zip(*encoder.named_parameters(), strict=True)

    def encode(vectors: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(encoder, dict(zip(names, parameters, strict=True)), (vectors, mask))

    if name == "gru":  # its kernel takes its weights by another way than functional_call
        assert torch.autograd.gradcheck(lambda v: encoder(v, mask), (vectors,))
        for parameter in encoder.parameters():
            assert torch.autograd.gradcheck(lambda _: encoder(vectors.detach(), mask), (parameter,))
    else:
        assert torch.autograd.gradcheck(encode, (vectors, *parameters))


@pytest.mark.parametrize("name", NAMES)
def test_order_matters_to_those_that_read_it(name: str) -> None:
    encoder = make(name)
    vectors, mask = histories()
    flipped = vectors.clone()
    flipped[:, [0, 2]] = vectors[:, [2, 0]]
    moved = (encoder(flipped, mask) - encoder(vectors, mask))[LENGTHS > 2].abs().max().item()
    assert (moved > 1e-2) if name in ORDERED else (moved < 1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_start_depends_on_the_generator_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    settings: dict[str, Any] = {"in_dim": 6, "out_dim": 8, "dropout": 0.2}
    one, same, other = (make_history_encoder(name, **settings, generator=seeded(s)) for s in (1, 1, 2))
    for encoder in (one, same, other):
        encoder.train()(*histories())
    assert torch.equal(before, torch.random.get_rng_state())
    pairs = [(p, same.state_dict()[n], other.state_dict()[n]) for n, p in one.state_dict().items()]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert all(torch.equal(a, c) for a, _, c in pairs) == (name == "mean")


@pytest.mark.parametrize("name", NAMES)
def test_state_restores_the_run_with_its_dropout(name: str) -> None:
    first = make(name, dropout=0.3).train()
    vectors, mask = histories()
    first(vectors, mask)
    state = {key: tensor.numpy().copy() for key, tensor in first.state_dict().items()}
    second = make_history_encoder(name, 6, 8, generator=seeded(77), dropout=0.3).train()
    second.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    third = copy.deepcopy(second)
    runs = [torch.stack([encoder(vectors, mask) for _ in range(3)]) for encoder in (first, second, third)]
    assert runs[0].equal(runs[1])
    assert runs[0].equal(runs[2])
    assert runs[0][0].equal(runs[0][1]) == (name == "mean")  # each step has masks of its own
    assert first.eval()(vectors, mask).equal(second.eval()(vectors, mask))


def test_additive_pooling_is_its_formula() -> None:
    pool = AdditivePooling(3, 5, seeded())
    tokens, mask = torch.randn(2, 4, 3, generator=seeded(1)), torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]]).bool()
    for row in range(2):
        kept = tokens[row][mask[row]]
        weight = (torch.tanh(kept @ pool.project.weight.T + pool.project.bias) @ pool.query).exp()
        assert_near(pool(tokens, mask)[row], (weight / weight.sum()) @ kept)


def test_self_attention_is_its_formula() -> None:
    attend = SelfAttention(3, 4, 2, seeded())
    tokens = torch.randn(1, 5, 3, generator=seeded(1))
    allowed = torch.ones(5, 5).tril().bool()
    query, (key, value) = attend.query(tokens[0]), attend.key_value(tokens[0]).chunk(2, dim=1)
    heads = []
    for part in (slice(0, 2), slice(2, 4)):
        meet = (query[:, part] @ key[:, part].T / 2**0.5).exp() * allowed
        heads.append(meet / meet.sum(dim=1, keepdim=True) @ value[:, part])
    assert_near(attend(tokens, allowed[None])[0], torch.cat(heads, dim=1))
    assert_near(attend(tokens, allowed[None], rows=2), attend(tokens, allowed[None])[:, :2])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make("lstm"), "history encoder: got 'lstm', needs one of mean, attention"),
        (lambda: make("sasrec", out_dim=9), "heads: got 2, needs a divisor of the width 9"),
        (lambda: make("gru", layers=0), "layers: got 0"),
        (lambda: make("nrms", dropout=1.0), "dropout: got 1.0"),
        (lambda: HistoryConfig(in_dim=1, out_dim=1, max_length=-1), "max_length: got -1"),
        (lambda: make("gru")(torch.ones(2, 3, 5), torch.ones(2, 3).bool()), r"history_vectors: got \(2, 3, 5\)"),
        (lambda: make("nrms")(torch.ones(2, 3, 6), torch.ones(2, 4).bool()), "history_mask: got shape"),
        (lambda: make("mean")(torch.ones(2, 3, 6), torch.ones(2, 3)), "history_mask: got torch.float32"),
        (lambda: make("sasrec")(torch.ones(1, 2, 6), torch.tensor([[False, True]])), "1 rows with a gap"),
    ],
)
def test_refusals_name_the_argument(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
