"""The content channel: its columns written out in loops, its place in the score, and what it must not touch."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feedgym.towers import SummedTowers, TwoTower, TwoTowerConfig
from feedgym.towers.columns.content_channel import EVIDENCE, MOST_TOPICS, ContentChannel, channel_widths
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from helpers.draws import seeded
from helpers.towers import lively

T_REF, TEXT, TOPICS, LENGTH = 490_000.0, 4, 6, 5
PUBLISHER, TOPIC = CategoryConfig(name="publisher", size=3, dim=2), CategoryConfig(name="topic", size=TOPICS, dim=2)
ITEM = ItemFeaturesConfig(num_numeric=7, categories=(PUBLISHER, TOPIC), text_columns=TEXT)
CONFIG = TwoTowerConfig(item=ITEM, reader_numeric=3, widths=(16,), dim=8, history_length=LENGTH, content_channel=True)


def made(kind: type, **settings: Any) -> Any:
    model = lively(kind(dataclasses.replace(CONFIG, **settings), seeded(7)))
    for channel in model.channels:
        channel.crowd.copy_(torch.rand(channel.width, generator=seeded(5)))
    return model


class Site:
    """Thirty articles, and seven readers of whom the first has clicked nothing."""

    def __init__(self) -> None:
        self.numeric = torch.randn(30, 7, generator=seeded(1))
        self.categorical = torch.stack([torch.arange(30) % 3, torch.arange(30) % TOPICS], dim=1)
        self.history = torch.randint(30, (7, LENGTH), generator=seeded(2))
        self.mask = torch.arange(LENGTH) < torch.tensor([0, 1, 2, 3, 4, 5, 5])[:, None]
        self.minutes = 9.0 * torch.rand(7, LENGTH, generator=seeded(3))
        self.reader = torch.randn(7, 3, generator=seeded(4))
        self.published = T_REF - 48 * torch.rand(30, dtype=torch.float64, generator=seeded(6))

    @property
    def columns(self) -> Tensor:
        """Ages that nobody looks at, and minutes."""
        return torch.stack([torch.full_like(self.minutes, 77.0), torch.log1p(self.minutes)], dim=2)

    def users(self, model: Any) -> Any:
        clicked = model.embed_history(self.numeric, self.categorical)[self.history]
        return model.embed_users(clicked, self.mask, self.reader, history_columns=self.columns)


def plain_match(site: Site, channel: ContentChannel, reader: int, article: int, *, by_minutes: bool) -> float:
    """What the channel adds for one reader and one article, number by number."""
    total = 0.0
    for scale, part in ((float(channel.scale[0]), "text"), (float(channel.scale[1]), "topic")):
        for column in range(TEXT if part == "text" else TOPICS):

            def z(a: int, column: int = column, part: str = part) -> float:
                return float(site.numeric[a, column]) if part == "text" else float(site.categorical[a, 1] == column)

            crowd = float(channel.crowd[column if part == "text" else TEXT + column])
            evidence, weight = 0.0, 0.0
            for click in range(LENGTH):
                if not site.mask[reader, click]:
                    continue
                a = 0.5 + math.log(1.0 + float(site.minutes[reader, click])) if by_minutes else 1.0
                evidence += a * (z(int(site.history[reader, click])) - crowd)
                weight += a
            total += scale * evidence / (1.0 + weight / EVIDENCE) * z(article)
    return total


@pytest.mark.parametrize("by_minutes", [True, False])
@torch.no_grad()
def test_it_adds_what_the_loops_say(by_minutes: bool) -> None:
    site, model = Site(), made(TwoTower, click_minutes=by_minutes)
    assert model.channel.widths == (TEXT, TOPICS)
    item, bias = model.embed_items(site.numeric, site.categorical)
    user, age = site.users(model), torch.zeros(7, 30)
    silent = made(TwoTower, click_minutes=by_minutes)
    silent.channel.scale.zero_()
    added = model.score(user, item, bias, age) - silent.score(site.users(silent), item, bias, age)
    wanted = [[plain_match(site, model.channel, r, a, by_minutes=by_minutes) for a in range(30)] for r in range(7)]
    torch.testing.assert_close(added, torch.tensor(wanted), atol=2e-5, rtol=1e-4)
    assert added[0].abs().max() == 0  # of whom nothing is known
    assert added[1:].std(dim=1).min() > 0.05


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prediction": "cosine", "age_decay": "linear"},
        {"share": "none", "encoder": "attention"},
        {"share": "embeddings", "click_minutes": False},
        {"history_columns": True, "age_decay": "exponential+harmonic"},
    ],
)
@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_towers_and_channel_are_one_inner_product(kind: type, settings: dict[str, Any]) -> None:
    site, model = Site(), made(kind, **settings)
    item, bias = model.embed_items(site.numeric, site.categorical)
    assert item.shape == (30, model.item_dim)
    assert model.embed_history(site.numeric, site.categorical).shape == (30, model.history_dim)
    user, now = site.users(model), T_REF + 5.0
    assert user.vector.shape == (7, model.vector_dim)
    age = (now - site.published).float().expand(7, 30)
    score = model.score(user, item, bias, age)
    stored, asked = model.augment_items(item, bias, site.published, T_REF), model.augment_users(user, now, T_REF)
    assert stored.shape == (30, model.augmented_dim)
    torch.testing.assert_close(
        asked @ stored.T + model.constant(user, now, T_REF)[:, None], score, atol=2e-4, rtol=1e-4
    )
    # Slates, and row by row.
    slates = torch.stack([torch.arange(30)] * 7)
    torch.testing.assert_close(model.score(user, item[slates], bias[slates], age), score, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(
        model.score(user, item[:7], bias[:7], age[0, :7]), score.diagonal(), atol=2e-5, rtol=1e-4
    )


@pytest.mark.parametrize("kind", [TwoTower, SummedTowers])
@torch.no_grad()
def test_exported_vectors_hold_the_channel(kind: type) -> None:
    site, model = Site(), made(kind, age_decay="none")
    item, bias = model.embed_items(site.numeric, site.categorical)
    user = site.users(model)
    vector, constant = model.without_age(item.numpy(), bias.numpy())
    assert vector.shape == (30, model.vector_dim)
    difference = model.score(user, item, bias, torch.zeros(7, 30)).numpy() - user.vector.numpy() @ vector.T - constant
    np.testing.assert_allclose(difference, difference[0, 0], atol=2e-4)


@pytest.mark.parametrize("share", ["none", "item_encoder"])
@torch.no_grad()
def test_the_towers_are_told_nothing_of_it(share: Any) -> None:
    """Weights are drawn as without it, and u is the same whatever stands in the channel's columns."""
    site, model = Site(), made(TwoTower, share=share)
    without = TwoTower(dataclasses.replace(CONFIG, share=share, content_channel=False), seeded(7))
    with_it = TwoTower(dataclasses.replace(CONFIG, share=share), seeded(7))
    own, arrays = without.to_arrays(), with_it.to_arrays()
    assert {name for name in arrays if name not in own} == {"channel.scale", "channel.crowd"}
    assert all(np.array_equal(own[name], arrays[name]) for name in own)
    clicked = model.embed_history(site.numeric, site.categorical)[site.history]
    u = model.embed_users(clicked, site.mask, site.reader, history_columns=site.columns).vector[:, :8]
    clicked[..., -model.channel.width :] += 3.0
    moved = model.embed_users(clicked, site.mask, site.reader, history_columns=site.columns).vector
    assert torch.equal(moved[:, :8], u)
    assert not torch.equal(moved[1:, 8:], site.users(model).vector[1:, 8:])


@torch.no_grad()
def test_a_second_stage_sees_it_in_the_score_alone() -> None:
    site, model = Site(), made(TwoTower, prediction="logistic")
    item, bias = model.embed_items(site.numeric, site.categorical)
    user, age = site.users(model), torch.zeros(7, 3)
    slates = torch.arange(21).view(7, 3)
    score = model.score(user, item[slates], bias[slates], age)
    logits = model.rerank(score, user, item[slates], age)
    changed = user._replace(vector=torch.cat([user.vector[:, :8], user.vector[:, 8:] + 1.0], dim=1))
    assert torch.equal(model.rerank(score, changed, item[slates], age), logits)
    assert not torch.equal(model.rerank(score + 1.0, user, item[slates], age), logits)


def test_gradients_reach_the_two_scales_and_no_features() -> None:
    site, model = Site(), made(TwoTower, history_gradient=True)
    columns = model._decay_end
    clicked = model.embed_history(site.numeric, site.categorical)[site.history]
    clicked.retain_grad()
    user = model.embed_users(clicked, site.mask, site.reader, history_columns=site.columns)
    item, bias = model.embed_items(site.numeric, site.categorical)
    model.score(user, item, bias, torch.zeros(7, 30)).square().sum().backward()
    assert (model.channel.scale.grad != 0).all()
    assert clicked.grad[..., :columns].abs().max() > 0
    assert clicked.grad[..., columns:].abs().max() == 0


def test_sites_with_less_to_match() -> None:
    """Without topics the text is matched, without text the topics; without both there is no channel, and no asking."""
    many = ItemFeaturesConfig(categories=(CategoryConfig(name="topic", size=MOST_TOPICS + 1),), text_columns=TEXT)
    assert channel_widths(many) == (TEXT, 0)
    assert channel_widths(ItemFeaturesConfig(num_numeric=3, categories=(PUBLISHER,), text_columns=2)) == (2, 0)
    assert channel_widths(ItemFeaturesConfig(num_numeric=3, categories=(PUBLISHER, TOPIC))) == (0, TOPICS)
    nothing = dataclasses.replace(CONFIG, item=ItemFeaturesConfig(num_numeric=3, categories=(PUBLISHER,)))
    assert not nothing.needs_minutes
    assert TwoTower(nothing, seeded(1)).channels == ()
    assert CONFIG.needs_minutes
    assert not dataclasses.replace(CONFIG, click_minutes=False).needs_minutes
    assert not dataclasses.replace(CONFIG, content_channel=False).needs_minutes
    for item in (many, ItemFeaturesConfig(num_numeric=3, categories=(PUBLISHER, TOPIC))):
        channel = ContentChannel(item, by_minutes=False)
        clicked = channel.articles(
            torch.randn(2, item.num_numeric), torch.zeros(2, len(item.categories), dtype=torch.int64)
        )
        assert channel.readers(clicked[None], torch.ones(1, 2, dtype=torch.bool), None).shape == (1, channel.width)


def test_minutes_that_are_missing_are_asked_for() -> None:
    site, model = Site(), made(TwoTower)
    clicked = model.embed_history(site.numeric, site.categorical)[site.history]
    with pytest.raises(ValueError, match="history_columns: got None, needs the minutes"):
        model.embed_users(clicked, site.mask, site.reader)
