"""What the two towers share: how many parameters that leaves, and whose gradients reach them."""

import pytest
import torch

from feedgym.towers import CategoryConfig, ItemFeaturesConfig, TwoTower, TwoTowerConfig

AUTHORS = 11
SHARES = ("none", "embeddings", "item_encoder")


def make(share: str, authors: int = AUTHORS, **settings: object) -> TwoTower:
    item = ItemFeaturesConfig(
        num_numeric=3,
        categories=(
            CategoryConfig(name="topic", size=5, dim=2),
            CategoryConfig(name="author", size=authors, dim=4, hashed=True),
        ),
    )
    config = TwoTowerConfig(
        item=item,
        reader_numeric=2,
        share=share,  # type: ignore[arg-type]
        id_features=("author",),
        **{"widths": (6,), "dim": 4, "age_decay": "linear", **settings},  # type: ignore[arg-type]
    )
    return TwoTower(config, torch.Generator().manual_seed(1))


def features(count: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    topics = torch.randint(5, (count, 1), generator=generator)
    authors = torch.randint(10**12, (count, 1), generator=generator)
    return torch.randn(count, 3, generator=generator), torch.cat([topics, authors], dim=1)


def user_side(model: TwoTower, *, through_history: bool) -> torch.Tensor:
    """A loss on readers alone; of ``through_history`` False, the vectors of their clicks are given."""
    numeric, categorical = features()
    vectors = model.embed_history(numeric, categorical)
    history = torch.arange(8).view(2, 4)
    user = model.embed_users(
        (vectors if through_history else vectors.detach())[history],
        torch.tensor([[True] * 4, [True, True, False, False]]),
        torch.randn(2, 2, generator=torch.Generator().manual_seed(3)),
        history_columns=torch.ones(2, 4, 2),
        history_ids=categorical[history, 1:2],
    )
    return user.vector.square().sum() + user.decay.square().sum()


def reached(model: TwoTower, loss: torch.Tensor) -> set[str]:
    """Names of the parameters that a loss moves."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_parameter_counts_by_hand() -> None:
    table, tables = AUTHORS * 4, 5 * 2 + AUTHORS * 4
    # 9 features; 4 of the history, 2 of the reader, three bags of 4.
    item_tower, user_tower = (9 * 6 + 6) + (6 * 5 + 5), (18 * 6 + 6) + (6 * 5 + 5)
    shared = {"item_features": tables, "item_tower": item_tower, "user_tower": user_tower, "history": 4}
    shared |= {"prediction": 1}
    layer = {"history_tower": 9 * 4 + 4}
    expected = {
        "item_encoder": shared | {"id_bags": 0},
        "embeddings": shared | layer | {"id_bags": 0},
        "none": shared | layer | {"id_bags": 3 * table, "history_features": tables},
    }
    for share, parts in expected.items():
        counts = make(share).parameter_counts()
        assert {name: counts[name] for name in parts} == parts
        assert counts["total"] == sum(parts.values())
        # What is counted is what is trained, and what is saved beside means and deviations of columns.
        model = make(share)
        assert counts["total"] == sum(p.numel() for p in model.parameters())
        saved = {name: array for name, array in model.to_arrays().items() if not name.endswith((".mean", ".std"))}
        assert counts["total"] == sum(array.size for array in saved.values())


def test_a_million_ids_are_one_table_where_the_towers_share_it() -> None:
    """Uber's point: tables are nearly all of a model, and one for each feature and tower is a waste."""
    totals = {}
    for share in SHARES:
        model = make(share, authors=1_000_000)
        sizes = [p.numel() for p in model.parameters() if p.ndim == 2 and len(p) == 1_000_000]
        # An article's, a clicked article's, and one for each of the three bags.
        assert len(sizes) == (5 if share == "none" else 1)
        totals[share] = model.parameter_counts()["total"]
        assert sum(sizes) > 0.999 * totals[share]
    assert totals["none"] / totals["embeddings"] == pytest.approx(5.0, rel=1e-3)
    assert totals["embeddings"] - totals["item_encoder"] == 9 * 4 + 4


@pytest.mark.parametrize("share", SHARES)
def test_both_sides_reach_the_shared_table(share: str) -> None:
    """From readers by what they clicked alone, the vectors of their clicks being given; from articles."""
    model = make(share)
    table = "item_features.tables.1"
    from_readers = reached(model, user_side(model, through_history=False))
    clicked_rows = model.item_features.tables[1].grad
    from_articles = reached(model, model.embed_items(*features())[0].square().sum())
    assert table in from_articles
    assert (table in from_readers) == (share != "none")
    if share == "none":
        assert {f"id_bags.author.tables.{k}" for k in range(3)} <= from_readers
        assert not any(name.startswith(("id_bags", "history_features")) for name in from_articles)
        assert clicked_rows is None
    assert "item_tower.2.weight" in from_articles
    assert "item_tower.2.weight" not in from_readers
    assert not any(name.startswith("user_tower") for name in from_articles)


@pytest.mark.parametrize("share", SHARES)
def test_what_the_vectors_of_clicks_train(share: str) -> None:
    model = make(share)
    # Authors are left out: what reaches a table here goes through the vectors of clicks.
    names = reached(model, model.embed_history(*features()).square().sum())
    tables = {f"{'history' if share == 'none' else 'item'}_features.tables.{k}" for k in range(2)}
    assert tables <= names
    assert any(name.startswith("item_tower") for name in names) == (share == "item_encoder")
    assert any(name.startswith("history_tower") for name in names) == (share != "item_encoder")
    assert any(name.startswith("item_features") for name in names) == (share != "none")
    # Of v a reader sees no bias and no decay, but all else, so that the same parameters are reached through her.
    whole = reached(model, user_side(model, through_history=True))
    assert names <= whole


@pytest.mark.parametrize("share", SHARES)
def test_what_readers_teach_of_an_author_changes_the_author_s_articles(share: str) -> None:
    """A step on readers alone, and the articles of whom they clicked have moved: unless nothing is shared."""
    model = make(share)
    with torch.no_grad():
        before = model.embed_items(*features())[0]
    reached(model, user_side(model, through_history=False))
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    with torch.no_grad():
        moved = (model.embed_items(*features())[0] - before).abs().amax(dim=1) > 1e-6
    assert moved[:8].all().item() == (share != "none")
    assert moved.any().item() == (share != "none")


@pytest.mark.parametrize("share", SHARES)
def test_vectors_of_clicks_are_whose_they_are(share: str) -> None:
    model = make(share)
    with torch.no_grad():
        vectors, own = model.embed_history(*features()), model.embed_items(*features())[0]
    assert vectors.shape == (9, model.history_dim)
    assert (share == "item_encoder") == (vectors.shape == own.shape and torch.equal(vectors, own))


def test_normalisation_reaches_the_history_s_own_features() -> None:
    numeric, _ = features()
    for share in SHARES:
        model = make(share)
        model.fit_items(3.0 + 2.0 * numeric)
        if share == "none":
            assert model.history_features is not None
            assert model.history_features is not model.item_features
            assert torch.equal(model.history_features.numeric.mean, model.item_features.numeric.mean)
            assert model.history_features.numeric.mean.abs().min() > 1
        else:
            assert model.history_features is None


def test_refusals() -> None:
    with pytest.raises(ValueError, match="share: got 'all', needs one of none, embeddings, item_encoder"):
        make("all")
    for share in ("none", "embeddings"):
        with pytest.raises(ValueError, match="history_gradient: got True, needs share='item_encoder'"):
            make(share, history_gradient=True)
    with pytest.raises(ValueError, match="id_features: got \\('series',\\), needs none, or some of topic, author"):
        TwoTowerConfig(item=make("none").config.item, id_features=("series",))
