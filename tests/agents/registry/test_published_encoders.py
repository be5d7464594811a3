"""Encoders at their published sizes: padding says nothing, nobody sees what comes later, long histories are cut."""

from typing import Any

import pytest
import torch

from feedgym.agents.registry import SYSTEMS
from feedgym.towers.encoders import HistoryEncoder, make_history_encoder

SYSTEMS_OF = {"sasrec": "sasrec", "bert4rec": "bert4rec", "nrms": "nrms", "mean": "youtube-2016"}
IN, ROWS = 67, 3


def encoder_of(name: str) -> tuple[HistoryEncoder, dict[str, Any]]:
    settings = SYSTEMS[SYSTEMS_OF[name]].settings("published")
    made = make_history_encoder(
        settings["encoder"],
        IN,
        settings["dim"],
        generator=torch.Generator().manual_seed(1),
        heads=settings.get("heads", 2),
        layers=settings.get("layers", 2),
        max_length=settings["history_clicks"],
        dropout=settings["dropout"],
    )
    return made.eval(), settings


def clicks(length: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(ROWS, length, IN, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SYSTEMS_OF)
def test_padding_says_nothing(name: str) -> None:
    encoder, settings = encoder_of(name)
    length = settings["history_clicks"]
    mask = torch.arange(length) < torch.tensor([length, 7, 0])[:, None]
    vectors = clicks(length)
    with torch.no_grad():
        found = encoder(vectors, mask)
        wild = torch.where(mask[:, :, None], vectors, 1e6)
        torch.testing.assert_close(encoder(wild, mask), found)
        torch.testing.assert_close(encoder(vectors[1:2, :7], mask[1:2, :7]), found[1:2], rtol=1e-4, atol=1e-5)
    assert found.isfinite().all()
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("name", SYSTEMS_OF)
def test_a_longer_history_is_cut_to_its_newest_clicks(name: str) -> None:
    encoder, settings = encoder_of(name)
    length = settings["history_clicks"]
    vectors, mask = clicks(length + 9), torch.ones(ROWS, length + 9, dtype=torch.bool)
    with torch.no_grad():
        found = encoder(vectors, mask)
        torch.testing.assert_close(found, encoder(vectors[:, :length], mask[:, :length]))
        shorter = encoder(vectors[:, : length - 1], mask[:, : length - 1])
    assert not torch.allclose(found, shorter)


def test_no_click_of_sasrec_sees_a_newer_one() -> None:
    encoder, settings = encoder_of("sasrec")
    length = settings["history_clicks"]
    vectors, mask = clicks(length), torch.ones(ROWS, length, dtype=torch.bool)
    changed = vectors.clone()
    changed[:, 20] += 1.0
    with torch.no_grad():
        before, after = (encoder.next_states(v, mask) for v in (vectors, changed))  # type: ignore[operator]
    moved = (before - after).abs().amax(dim=(0, 2)) > 1e-6
    # Newest first: what comes after place 20 stands before it, and is foretold from strictly older clicks.
    assert moved.tolist() == [place < 20 for place in range(length)]


def test_masked_clicks_of_bert4rec_are_guessed_from_both_sides_and_not_from_themselves() -> None:
    encoder, settings = encoder_of("bert4rec")
    length = settings["history_clicks"]
    vectors, mask = clicks(length), torch.ones(ROWS, length, dtype=torch.bool)
    hidden = torch.zeros_like(mask)
    hidden[:, [5, 20]] = True
    with torch.no_grad():
        before = encoder.masked_states(vectors, mask, hidden)  # type: ignore[operator]
        for place, seen in ((20, False), (5, False), (19, True), (21, True)):
            changed = vectors.clone()
            changed[:, place] += 1.0
            after = encoder.masked_states(changed, mask, hidden)  # type: ignore[operator]
            assert ((before[:, 20] - after[:, 20]).abs().max() > 1e-6) == seen
