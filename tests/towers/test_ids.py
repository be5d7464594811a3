"""Ids as features: which tables there are, who looks into which row, and what sharing saves."""

from typing import Any

import numpy as np
import pytest
import torch

from feedgym.towers import CategoryConfig, ItemFeatures, ItemFeaturesConfig, TwoTower, TwoTowerConfig
from feedgym.towers.columns.reader_features import ReaderFeatures, reader_rows
from feedgym.towers.features import rows_of

ROWS, DIM = 1009, 5


def kind(name: str, table: str | None = None, **more: Any) -> CategoryConfig:
    return CategoryConfig(name=name, **({"size": ROWS, "dim": DIM, "hashed": True, "table": table} | more))


def make(share: str, *, one_table: bool, bags: tuple[str, ...] = ("author", "article"), rows: int = ROWS) -> TwoTower:
    """A model with ids of authors, articles and readers."""
    table = "ids" if one_table else None
    author, article, reader = (kind(name, table, size=rows) for name in ("author", "article", "reader"))
    config = TwoTowerConfig(
        item=ItemFeaturesConfig(num_numeric=3, categories=(author, article)),
        reader_numeric=3,
        reader_id=reader,
        share=share,  # type: ignore[arg-type]
        id_features=bags,
        widths=(6,),
        dim=4,
        age_decay="linear",
    )
    return TwoTower(config, torch.Generator().manual_seed(1))


def tables(model: TwoTower, rows: int = ROWS) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.shape == (rows, DIM)]


@pytest.mark.parametrize(
    ("share", "one_table", "bags", "count"),
    [
        # Each of two kinds: of the article, of what was clicked, three bags; and readers.
        ("none", False, ("author", "article"), 11),
        # Articles without bags have two uses.
        ("none", False, ("author",), 8),
        ("embeddings", False, ("author", "article"), 3),
        ("item_encoder", False, ("author", "article"), 3),
        ("embeddings", True, ("author", "article"), 1),
        ("item_encoder", True, ("author",), 1),
    ],
)
def test_there_is_a_table_for_each_use_unless_it_is_shared(
    share: str, one_table: bool, bags: tuple[str, ...], count: int
) -> None:
    assert len(tables(make(share, one_table=one_table, bags=bags))) == count


@pytest.mark.parametrize(("bags", "uses"), [(("author", "article"), 11), (("author",), 8), ((), 5)])
def test_the_factor_is_arithmetic(bags: tuple[str, ...], uses: int) -> None:
    """(uses * ids * width + layers) / (ids * width + shared layers): near the number of uses where tables are large."""
    apart, one = make("none", one_table=False, bags=bags), make("embeddings", one_table=True, bags=bags)
    layers = [model.parameter_counts()["total"] - ROWS * DIM * times for model, times in ((apart, uses), (one, 1))]
    assert layers[0] == layers[1] < 800
    ids = 200_000
    factor = (uses * ids * DIM + layers[0]) / (ids * DIM + layers[1])
    large = [
        model.parameter_counts()["total"]
        for model in (
            make("none", one_table=False, bags=bags, rows=ids),
            make("embeddings", one_table=True, bags=bags, rows=ids),
        )
    ]
    assert large[0] / large[1] == pytest.approx(factor, rel=1e-12)
    assert factor == pytest.approx(uses, rel=2e-2)


def test_in_one_table_each_kind_is_hashed_in_its_own_way() -> None:
    ids = torch.arange(2000)
    own, author, article = (
        rows_of(ids, each) for each in (kind("author"), kind("author", "ids"), kind("article", "ids"))
    )
    for rows in (own, author, article):
        assert torch.bincount(rows, minlength=ROWS).max() <= 12  # 2 on average
    # Alone an id is hashed as ever; together author 7 and article 7 meet by chance only: 2 of 2,000.
    assert torch.equal(rows_of(ids, kind("other")), own)
    assert (author == article).sum() < 15
    assert (own == author).sum() < 15


def test_one_table_is_looked_into_by_all_and_saved_once() -> None:
    model = make("embeddings", one_table=True)
    (table,) = tables(model)
    assert [name for name, array in model.to_arrays().items() if array.shape == (ROWS, DIM)] == [
        "item_features.tables.0"
    ]
    numeric, ids = torch.zeros(1, 3), torch.tensor([[41, 77]])
    author, article = (int(rows_of(ids[:, k], c)[0]) for k, c in enumerate(model.config.item.categories))
    reader = int(reader_rows(np.array([99]), model.config.reader_id)[0]) - 1  # type: ignore[arg-type]
    vectors = model.item_features(numeric, ids)[0, 3:]
    assert torch.equal(vectors, torch.cat([table[author], table[article]]))
    assert torch.equal(model.reader_features(torch.tensor([[0.0, 0.0, reader + 1.0]]))[0, 2:], table[reader])
    assert model.id_bags is not None
    click = torch.ones(1, 1)
    bags = model.id_bags(ids[None], click.bool(), click * 2)[0]
    assert torch.equal(bags, torch.cat([table[author]] * 3 + [table[article]] * 3))
    # What one kind teaches is learned where all look.
    model.reader_features(torch.tensor([[0.0, 0.0, reader + 1.0]])).sum().backward()
    assert table.grad is not None
    assert table.grad.any(dim=1).nonzero().ravel().tolist() == [reader]


def test_readers_by_hand_and_the_unknown_one() -> None:
    category = CategoryConfig(name="reader", size=7, dim=2, hashed=True, start=1.0)
    features = ReaderFeatures(3, category, None, torch.Generator().manual_seed(2))
    assert features.out_dim == 4
    columns = reader_rows(np.array([5, 10**12, 5]), category)
    assert columns.dtype == np.float32
    assert columns[0] == columns[2] != columns[1]
    numeric = torch.tensor([[1.0, 2.0, columns[0]], [3.0, 2.0, columns[1]], [5.0, 2.0, 0.0]])
    features.fit_normalisation(numeric)
    # The row is no number: it is neither centred nor scaled.
    assert features.mean.tolist() == [3.0, 2.0]
    out = features(numeric)
    assert features.table is not None
    torch.testing.assert_close(out[:, 0], torch.tensor([-1.0, 0.0, 1.0]) * 1.5**0.5)
    assert torch.equal(out[0, 2:], features.table[int(columns[0]) - 1])
    assert torch.equal(out[1, 2:], features.table[int(columns[1]) - 1])
    assert out[2, 2:].tolist() == [0.0, 0.0]
    out.sum().backward()
    assert features.table.grad is not None
    assert int(features.table.grad.any(dim=1).sum()) == 2  # nobody teaches a row of the unknown


def test_every_row_number_is_exact_in_float32() -> None:
    largest = CategoryConfig(name="reader", size=2**24 - 1, dim=1, hashed=True, start=0.0)
    ids = np.arange(50_000) * 7919
    np.testing.assert_array_equal(
        reader_rows(ids, largest).astype(np.int64) - 1, rows_of(torch.from_numpy(ids), largest)
    )
    with pytest.raises(ValueError, match=r"reader_id.size: got 16777216, needs <= 16,777,215"):
        TwoTowerConfig(reader_id=CategoryConfig(name="reader", size=2**24, hashed=True))


def test_an_id_that_nobody_has_learned_of_says_nothing() -> None:
    new = ItemFeaturesConfig(num_numeric=1, categories=(kind("article", start=0.0),))
    features = ItemFeatures(new, torch.Generator().manual_seed(3))
    assert not features(torch.ones(4, 1), torch.arange(4)[:, None])[:, 1:].any()
    # And draws nothing: models without such a table are as they were.
    generator = torch.Generator().manual_seed(3)
    ItemFeatures(new, generator)
    assert torch.equal(torch.rand(1, generator=generator), torch.rand(1, generator=torch.Generator().manual_seed(3)))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"article: size and dim: got .1009, 4., needs .1009, 5.: one table"):
        ItemFeaturesConfig(categories=(kind("author", "ids"), kind("article", "ids", dim=4)))
    with pytest.raises(ValueError, match=r"author.table: got 'ids', needs None, unless hashed"):
        kind("author", "ids", hashed=False)
    with pytest.raises(ValueError, match=r"article.half_life_hours: got 3.0, needs None in a shared table"):
        kind("article", "ids", half_life_hours=3.0)
    with pytest.raises(ValueError, match=r"share: got 'none', needs embeddings or item_encoder where kinds"):
        make("none", one_table=True)
    with pytest.raises(ValueError, match=r"reader_id.table: got 'ids', needs None, or a table of article features"):
        TwoTowerConfig(reader_id=kind("reader", "ids"))
