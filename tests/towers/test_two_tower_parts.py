"""Parts of the two-tower model in all combinations: id bags, columns of clicks, ages, predictions, half precision."""

import copy

import numpy as np
import pytest
import torch

from feedgym.towers import (
    CategoryConfig,
    ItemFeaturesConfig,
    SummedTowers,
    TwoTower,
    TwoTowerConfig,
    UserOutput,
    losses,
)
from feedgym.towers.age_decay import AGE_DECAYS
from feedgym.towers.encoders import HISTORY_ENCODERS
from feedgym.towers.encoders.id_bags import IdBags
from feedgym.towers.features import rows_of
from feedgym.towers.prediction import PREDICTIONS
from helpers.towers import lively

T_REF = 490_000.0  # hours since 1970, about
AUTHOR = CategoryConfig(name="author", size=7, dim=3, hashed=True)
ITEM = ItemFeaturesConfig(
    num_numeric=4, text_columns=2, categories=(CategoryConfig(name="topic", size=6, dim=4), AUTHOR)
)
CLICKS = ((3, True, 2.0), (10**12, True, 0.5), (3, True, 0.0)), ((5, True, 0.2),), ()
"""Of three readers, newest first: author, whether there is a click, minutes."""


def make(**settings: object) -> TwoTower:
    config = TwoTowerConfig(item=ITEM, reader_numeric=3, **{"widths": (12,), "dim": 8, **settings})  # type: ignore[arg-type]
    return lively(TwoTower(config, torch.Generator().manual_seed(7)))


def features(count: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    topics = torch.randint(6, (count, 1), generator=generator)
    authors = torch.randint(10**12, (count, 1), generator=generator)
    return torch.randn(count, 4, generator=generator), torch.cat([topics, authors], dim=1)


def readers(model: TwoTower | SummedTowers, count: int = 7) -> UserOutput:
    generator = torch.Generator().manual_seed(2)
    numeric, categorical = features()
    history = torch.randint(30, (count, 4), generator=generator)
    mask = torch.arange(4) < torch.randint(5, (count, 1), generator=generator)
    return model.embed_users(
        model.embed_history(numeric, categorical)[history],
        mask,
        torch.randn(count, 3, generator=generator),
        history_columns=torch.rand(count, 4, 2, generator=generator),
        history_ids=categorical[history, 1:2],
    )


# Bags of ids


def bag_inputs(padding: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``CLICKS`` as arrays of four columns; ``padding`` stands as the id where there is no click."""
    ids = torch.full((3, 4), padding)
    mask, minutes = torch.zeros(3, 4, dtype=torch.bool), torch.full((3, 4), 9.0)
    for b, clicks in enumerate(CLICKS):
        for place, (author, known, read) in enumerate(clicks):
            ids[b, place], mask[b, place], minutes[b, place] = author, known, read
    return ids, mask, minutes


@pytest.mark.parametrize("shared", [False, True])
def test_bags_are_means_over_who_was_clicked_read_and_clicked_last(shared: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    table = torch.nn.Parameter(torch.randn(7, 3, generator=generator)) if shared else None
    bags = IdBags(AUTHOR, table, generator)
    tables = [table] * 3 if table is not None else list(bags.tables)
    expected = torch.zeros(3, 9)
    for b, clicks in enumerate(CLICKS):
        members = (
            [author for author, _, _ in clicks],
            [author for author, _, read in clicks if read >= 1.0],
            [author for author, _, _ in clicks[:1]],
        )
        for bag, authors in enumerate(members):
            for author in authors:
                row = int(rows_of(torch.tensor([author]), AUTHOR)[0])
                expected[b, 3 * bag : 3 * bag + 3] += tables[bag][row].detach() / len(authors)
    got = bags(*bag_inputs())
    torch.testing.assert_close(got, expected)
    assert (got[2] == 0).all()  # no click
    assert (got[1, 3:6] == 0).all()  # none was read for a minute
    assert got.abs().sum(dim=1)[:2].min() > 0
    # Whatever stands at padding, as ids and as minutes, is not looked at.
    assert torch.equal(bags(*bag_inputs(padding=12345)), got)
    assert bags(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0).bool(), torch.zeros(2, 0)).shape == (2, 9)


def test_any_id_has_a_row() -> None:
    ids = torch.tensor([0, 6, 7, 2**62, -5, 10**18])
    rows = rows_of(ids, AUTHOR)
    assert ((rows >= 0) & (rows < 7)).all()
    many = torch.bincount(rows_of(torch.arange(7000), AUTHOR), minlength=7)
    assert many.min() > 800  # of 1,000 on average
    plain = CategoryConfig(name="author", size=7, dim=3)
    # Padding may hold what is no id at all.
    one = IdBags(plain, None, torch.Generator())(
        torch.tensor([[6, -1]]), torch.tensor([[True, False]]), torch.ones(1, 2)
    )
    assert one.shape == (1, 9)
    with pytest.raises(ValueError, match="author: got"):
        IdBags(plain, None, torch.Generator())(torch.tensor([[7]]), torch.tensor([[True]]), torch.ones(1, 1))


@pytest.mark.parametrize("share", ["none", "embeddings", "item_encoder"])
def test_a_shared_table_is_saved_once_and_comes_back_to_both(share: str) -> None:
    model = make(share=share, id_features=("author",))
    arrays = model.to_arrays()
    tables = [name for name, array in arrays.items() if array.shape == (7, 3)]
    assert len(tables) == len([p for p in model.parameters() if p.shape == (7, 3)]) == (5 if share == "none" else 1)
    assert share == "none" or not any(name.startswith("id_bags") for name in arrays)
    fresh = TwoTower(model.config, torch.Generator().manual_seed(99))
    assert not torch.equal(readers(fresh).vector, readers(model).vector)
    fresh.from_arrays(arrays)
    assert torch.equal(readers(fresh).vector, readers(model).vector)
    assert torch.equal(fresh.embed_items(*features())[0], model.embed_items(*features())[0])
    # Copied, the two sides still look into one table.
    twin = copy.deepcopy(fresh)
    with torch.no_grad():
        twin.item_features.tables[1].mul_(2.0)
    bags, before = (m.id_bags["author"](*bag_inputs()) for m in (twin, fresh))  # type: ignore[index]
    assert torch.equal(bags, before) == (share == "none")


# Columns of clicks


@pytest.mark.parametrize("encoder", HISTORY_ENCODERS)
def test_columns_of_clicks_reach_the_reader_and_only_where_there_is_a_click(encoder: str) -> None:
    model = make(encoder=encoder, history_columns=True, history_length=4)
    generator = torch.Generator().manual_seed(5)
    vectors, numeric = torch.randn(2, 4, model.history_dim, generator=generator), torch.zeros(2, 3)
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    columns = torch.rand(2, 4, 2, generator=generator)
    plain = model.embed_users(vectors, mask, numeric, history_columns=columns).vector
    for column in (0, 1):
        changed = columns.clone()
        changed[:, 1, column] += 1.0
        moved = model.embed_users(vectors, mask, numeric, history_columns=changed).vector - plain
        assert (moved.abs().amax(dim=1) > 1e-4).all()
    changed = columns.clone()
    changed[0, 2:] += 1.0
    assert torch.equal(model.embed_users(vectors, mask, numeric, history_columns=changed).vector[0], plain[0])
    with pytest.raises(ValueError, match=r"history_columns: got None, needs shape \(2, 4, 2\)"):
        model.embed_users(vectors, mask, numeric)
    with pytest.raises(ValueError, match="history_columns: got shape"):
        model.embed_users(vectors, mask, numeric, history_columns=columns[..., :1])


# Scores


@pytest.mark.parametrize("item_encoder", ["ffn", "fields"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("decay", AGE_DECAYS)
@torch.no_grad()
def test_the_score_is_an_inner_product_and_a_constant_at_every_moment(
    decay: str, prediction: str, item_encoder: str
) -> None:
    model = make(age_decay=decay, prediction=prediction, item_encoder=item_encoder)
    item, bias = model.embed_items(*features())
    assert item.shape == (30, model.item_dim)
    user = readers(model)
    published = T_REF - 48 * torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    stored = model.augment_items(item, bias, published, T_REF)  # written once
    scores = []
    for now in (T_REF, T_REF + 3.7, T_REF + 24.0):
        scores.append(model.score(user, item, bias, (now - published).float().expand(7, 30)))
        product = model.augment_users(user, now, T_REF) @ stored.T + model.constant(user, now, T_REF)[:, None]
        torch.testing.assert_close(product, scores[-1], atol=3e-4, rtol=1e-5)
    moved = float((scores[0] - scores[1]).abs().max())
    assert moved == 0 if decay == "none" else moved > 0.05  # not at + 24 h: a daily cycle is back there
    # The direction alone counts for a cosine.
    young = torch.zeros(7, 30)
    stretched = model.score(UserOutput(3.0 * user.vector, user.decay), item, bias, young)
    difference = float((stretched - model.score(user, item, bias, young)).abs().max())
    assert difference < 1e-4 if prediction == "cosine" else difference > 0.1


@pytest.mark.parametrize("item_encoder", ["ffn", "fields"])
def test_age_in_the_item_tower_moves_vectors_and_is_off_by_default(item_encoder: str) -> None:
    numeric, categorical = features()
    for ablation in (False, True):
        model = make(item_encoder=item_encoder, age_in_item_tower=ablation)
        young, old = (model.embed_items(numeric, categorical, torch.full((30,), age))[0] for age in (0.0, 9.0))
        assert torch.equal(young, model.embed_items(numeric, categorical)[0])
        assert ((old - young).abs().amax(dim=1) > 1e-4).all().item() == ablation
        assert torch.equal(old, young) != ablation
        # Each article by its own age.
        mixed = model.embed_items(numeric, categorical, 9.0 * (torch.arange(30) % 2))[0]
        torch.testing.assert_close(mixed[::2], young[::2])
        torch.testing.assert_close(mixed[1::2], old[1::2])


# Half precision


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@pytest.mark.parametrize("share", ["none", "item_encoder"])
@pytest.mark.parametrize("encoder", HISTORY_ENCODERS)
def test_under_autocast_losses_are_float32_and_close(encoder: str, share: str, kind: type) -> None:
    config = make(encoder=encoder, share=share, history_columns=True, id_features=("author",)).config
    model = kind(config, torch.Generator().manual_seed(4))
    age = torch.linspace(0, 30, 7)
    clicked = torch.arange(7) % 2 == 0
    ids = torch.arange(7) // 2

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        item, bias = model.embed_items(*features(7))
        user = readers(model)
        published = T_REF - torch.arange(7, dtype=torch.float64)
        stored = model.augment_items(item, bias, published, T_REF)
        users = model.augment_users(user, T_REF, T_REF)
        return (
            losses.bce_loss(model.score(user, item, bias, age), clicked),
            losses.in_batch_softmax_loss(users, stored, ids, torch.log((1 + ids) / 20)),
        )

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.embed_items(*features(7))[1].dtype == torch.bfloat16  # halves are at work
        halves = both()
    for half, whole in zip(halves, both(), strict=True):
        assert half.dtype == torch.float32
        assert half.item() == pytest.approx(whole.item(), rel=0.03)
    sum(halves).backward()  # type: ignore[union-attr]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)
    assert np.sum([float(g.abs().sum()) for g in gradients]) > 0
