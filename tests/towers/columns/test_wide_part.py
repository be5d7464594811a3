"""The wide part: its columns and their product, its place in one inner product, trust, and what it leaves out."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.towers import SummedTowers, TwoTower, TwoTowerConfig
from feedgym.towers.columns.wide_part import AGE_AMPLITUDES, AGE_TAUS_HOURS, MOST_CATEGORIES, WidePart
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.draws import seeded
from helpers.towers import lively

T_REF, TEXT, COUNTERS, LENGTH, N, B = 490_000.0, 4, 2, 5, 30, 7
TOPIC, PUBLISHER = CategoryConfig(name="topic", size=6, dim=2), CategoryConfig(name="publisher", size=3, dim=2)
AUTHOR = CategoryConfig(name="author", size=MOST_CATEGORIES + 1, dim=2, hashed=True)
ITEM = ItemFeaturesConfig(
    num_numeric=TEXT + 3 + COUNTERS,
    categories=(TOPIC, AUTHOR, PUBLISHER),
    text_columns=TEXT,
    counter_columns=COUNTERS,
)
CONFIG = TwoTowerConfig(item=ITEM, reader_numeric=3, widths=(16,), dim=8, history_length=LENGTH, wide_part=True)


def made(kind: type, *, trust: float = 1.0, **settings: Any) -> Any:
    """A model all of whose weights are away from 0."""
    model = lively(kind(dataclasses.replace(CONFIG, **settings), seeded(7)))
    model.fit_items(Site().numeric)
    for number, wide in enumerate(model.wides):
        wide.level.fill_(0.7 + number)
        wide.trust.fill_(trust)
        for weight in (wide.worth_log, wide.worth_more):
            weight.copy_(0.2 * torch.randn(weight.shape, generator=seeded(20 + number)))
        wide.worth_floor.fill_(0.4)
    for channel in model.channels:
        channel.crowd.copy_(torch.rand(channel.width, generator=seeded(5)))
    return model


class Site:
    """Thirty articles, and seven readers of whom the first has clicked nothing."""

    def __init__(self) -> None:
        self.numeric = torch.randn(N, ITEM.num_numeric, generator=seeded(1)) * 3 + 1
        self.categorical = torch.stack([torch.arange(N) % 6, torch.arange(N) * 77, torch.arange(N) % 3], dim=1)
        self.history = torch.randint(N, (B, LENGTH), generator=seeded(2))
        self.mask = torch.arange(LENGTH) < torch.tensor([0, 1, 2, 3, 4, 5, 5])[:, None]
        self.columns = torch.rand(B, LENGTH, 2, generator=seeded(3))
        self.reader = torch.randn(B, 3, generator=seeded(4))
        self.published = T_REF - 48 * torch.rand(N, dtype=torch.float64, generator=seeded(6))

    def users(self, model: Any) -> Any:
        clicked = model.embed_history(self.numeric, self.categorical)[self.history]
        return model.embed_users(clicked, self.mask, self.reader, history_columns=self.columns)

    def scores(self, model: Any, now: float = T_REF + 5.0) -> Tensor:
        """Of every reader with every article, (B, N)."""
        age = (now - self.published).float().expand(B, N)
        scores: Tensor = model.score(self.users(model), *model.embed_items(self.numeric, self.categorical), age)
        return scores

    def standard(self, model: Any) -> Tensor:
        standard: Tensor = model.item_features.numeric(self.numeric)
        return standard


@torch.no_grad()
def test_it_adds_what_the_loops_say() -> None:
    """Number by number: columns, ages, level, and the minutes that an opening is worth."""
    site, model = Site(), made(TwoTower)
    wide, standard = model.wide, site.standard(model)
    silent = made(TwoTower)
    for tensor in (*silent.wide.parameters(), silent.wide.level, silent.wide.worth_floor):
        tensor.zero_()
    added = site.scores(model) - site.scores(silent)
    for i in range(N):
        z = standard[i, TEXT : TEXT + 3].tolist()
        z += [float(site.categorical[i, 0] == topic) for topic in range(6)]
        z += [float(site.categorical[i, 2] == publisher) for publisher in range(3)]
        assert len(z) == wide.width == wide.columns(standard, site.categorical).shape[1]

        def weighed(weights: Tensor, z: list[float] = z) -> float:
            return sum(w * x for w, x in zip(weights.tolist(), z, strict=True))

        age = float(T_REF + 5.0 - site.published[i])
        total = float(wide.level) + weighed(wide.article)
        for k in range(3):
            total += float(wide.age[k]) * AGE_AMPLITUDES[k] * math.exp(-age / AGE_TAUS_HOURS[k])
        minutes = math.exp(float(wide.worth_log[0]) + weighed(wide.worth_log[1:]))
        minutes += float(wide.worth_more[0]) + weighed(wide.worth_more[1:])
        total += math.log(max(minutes, 0.4))
        np.testing.assert_allclose(added[:, i].numpy(), total, atol=2e-5)
    worth = wide.worth(standard, site.categorical)
    assert 0 < int((worth == math.log(torch.tensor(0.4))).sum()) < N  # the floor holds some, not all
    assert float(added.std()) > 0.2


@torch.no_grad()
def test_columns_and_weights_are_the_same_product() -> None:
    """``columns`` is what is fitted, ``articles`` what serves; so with ages."""
    site, model = Site(), made(TwoTower)
    wide, standard = model.wide, site.standard(model)
    wide.worth_floor.zero_()
    z = wide.columns(standard, site.categorical)
    torch.testing.assert_close(z @ wide.article, wide.articles(standard, site.categorical))
    assert (z[:, wide.plain_columns] == standard[:, TEXT : TEXT + 3]).all()
    assert (z[:, wide.publisher_columns].argmax(dim=1) == site.categorical[:, 2]).all()
    assert (z[:, 3:].sum(dim=1) == 2).all()  # a topic and a publisher each, of the authors none
    age = torch.tensor([[0.0, 3.0], [50.0, 400.0]])
    torch.testing.assert_close(
        (wide.age_columns(age) @ wide.age.double() + wide.level.double()).float(), wide.aged(age), atol=1e-5, rtol=1e-5
    )


DECAYS: tuple[dict[str, Any], ...] = ({"age_decay": "exponential"}, {"age_decay": "linear"}, {"age_decay": "none"})
MORE: tuple[dict[str, Any], ...] = (
    {"prediction": "cosine", "age_decay": "exponential+harmonic"},
    {"share": "none", "encoder": "attention"},
)


@pytest.mark.parametrize("trust", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("channel", [False, True])
@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_all_of_it_is_one_inner_product(kind: type, channel: bool, trust: float) -> None:
    for settings in (*DECAYS, *MORE):
        site, model = Site(), made(kind, trust=trust, content_channel=channel, **settings)
        item, bias = model.embed_items(site.numeric, site.categorical)
        user, now = site.users(model), T_REF + 5.0
        score = site.scores(model)
        for t_ref, scale in ((T_REF, 1.0), (T_REF - 100.0, 2.5)):
            stored = model.augment_items(item, bias, site.published, t_ref, scale)
            asked = model.augment_users(user, now, t_ref, scale)
            assert stored.shape == (N, model.augmented_dim)
            found = asked @ stored.T + model.constant(user, now, t_ref)[:, None]
            torch.testing.assert_close(found, score, atol=5e-4, rtol=1e-4)
        # Slates, and row by row.
        age = (now - site.published).float().expand(B, N)
        slates = torch.stack([torch.arange(N)] * B)
        torch.testing.assert_close(model.score(user, item[slates], bias[slates], age), score, atol=5e-5, rtol=1e-4)
        rows = model.score(user, item[:B], bias[:B], age[0, :B])
        torch.testing.assert_close(rows, score.diagonal(), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_trust_says_what_the_towers_count_and_training_does_not_know_it(kind: type) -> None:
    site = Site()
    for settings in (*DECAYS, *MORE):
        none, some, whole = (site.scores(made(kind, trust=trust, **settings)) for trust in (0.0, 0.3, 1.0))
        torch.testing.assert_close(some, none + 0.3 * (whole - none), atol=5e-5, rtol=1e-4)
        assert float((whole - none).std(dim=1).min()) > 0.1
        # Of nobody in particular: all readers are scored alike.
        torch.testing.assert_close(none, none[:1].expand(B, N), atol=1e-5, rtol=1e-5)
        model = made(kind, trust=0.3, **settings).train()
        torch.testing.assert_close(site.scores(model), whole, atol=5e-5, rtol=1e-4)
    # The global bias takes off what the towers say on average: it counts as they do. A shift is of all scores.
    model = made(kind, trust=0.0, **settings)
    for part in model.models:
        part.prediction.global_bias.add_(5.0)
    torch.testing.assert_close(site.scores(model), none)
    model.shift(0.25)
    torch.testing.assert_close(site.scores(model), none + 0.25)


@pytest.mark.parametrize("trust", [0.3, 1.0])
@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_exported_vectors_say_what_is_served(kind: type, trust: float) -> None:
    site, model = Site(), made(kind, trust=trust, age_decay="none", content_channel=True)
    for wide in model.wides:
        wide.age.zero_()
    item, bias = model.embed_items(site.numeric, site.categorical)
    vector, constant = model.without_age(item.numpy(), bias.numpy())
    difference = site.scores(model).numpy() - site.users(model).vector.numpy() @ vector.T - constant
    np.testing.assert_allclose(difference, difference[0, 0], atol=3e-4)


@torch.no_grad()
def test_without_weights_it_changes_no_score() -> None:
    site = Site()
    for settings in DECAYS:
        with_it = made(TwoTower, **settings)
        for tensor in (*with_it.wide.parameters(), *with_it.wide.buffers()):
            tensor.zero_()
        with_it.wide.trust.fill_(1.0)
        without = TwoTower(dataclasses.replace(CONFIG, wide_part=False, **settings), seeded(1))
        own = {name: array for name, array in with_it.to_arrays().items() if not name.startswith("wide.")}
        without.from_arrays(own)
        torch.testing.assert_close(site.scores(with_it), site.scores(without), atol=1e-6, rtol=1e-6)
        assert without.augmented_dim == with_it.augmented_dim - len(AGE_TAUS_HOURS)


@torch.no_grad()
def test_towers_beside_it_start_at_nought() -> None:
    """They are to learn what it leaves, and know nothing of that yet."""
    site = Site()
    for kind in (TwoTower, SummedTowers):
        model = kind(dataclasses.replace(CONFIG, age_decay="none"), seeded(7))
        assert float(site.scores(model).abs().max()) == 0.0
        plain = kind(dataclasses.replace(CONFIG, age_decay="none", wide_part=False), seeded(7))
        assert float(site.scores(plain).std()) > 0.01


@torch.no_grad()
def test_counters_text_and_great_categories_are_left_out() -> None:
    site, model = Site(), made(TwoTower)
    wide, standard = model.wide, site.standard(model)
    before = wide.columns(standard, site.categorical), wide.articles(standard, site.categorical)
    standard[:, :TEXT] += 1.0
    standard[:, -COUNTERS:] -= 1.0
    site.categorical[:, 1] += 5
    for old, new in zip(
        before, (wide.columns(standard, site.categorical), wide.articles(standard, site.categorical)), strict=True
    ):
        assert torch.equal(old, new)
    standard[:, TEXT] += 1.0
    assert not torch.equal(wide.articles(standard, site.categorical), before[1])
    for size, columns in ((MOST_CATEGORIES, MOST_CATEGORIES), (MOST_CATEGORIES + 1, 0)):
        one = WidePart(ItemFeaturesConfig(num_numeric=5, categories=(CategoryConfig(name="desk", size=size),)))
        assert one.width == 5 + columns
        assert one.publisher_columns is None


@torch.no_grad()
def test_a_reference_of_long_ago_is_refused() -> None:
    """Columns of ages would be infinite: whoever keeps them writes them anew every day."""
    wide = made(TwoTower).wide

    def columns(hours: float) -> tuple[Tensor, Tensor]:
        """Of an article published so long after the reference, and of a reader who asks so long before it."""
        after = torch.tensor([hours], dtype=torch.float64)
        return wide.item_columns(T_REF + after, T_REF), wide.user_columns(-after)

    assert all(bool(c.isfinite().all()) for c in columns(319.0))
    message = "t_ref: got 321 h before, needs at most 320 h before all times: rebase"
    with pytest.raises(ValueError, match=message):
        wide.item_columns(torch.tensor([T_REF + 321.0], dtype=torch.float64), T_REF)
    with pytest.raises(ValueError, match=message):
        wide.user_columns(torch.tensor([-321.0], dtype=torch.float64))
    # The other way nothing is lost but what has faded anyhow.
    assert all(float(c.abs().max()) < 1e-30 for c in columns(-9000.0))


def test_gradients_reach_its_weights_where_a_learner_trains_it() -> None:
    site, model = Site(), made(TwoTower).train()
    site.scores(model).square().sum().backward()
    for parameter in model.wide.parameters():
        assert parameter.grad is not None
        assert bool((parameter.grad != 0).all())
