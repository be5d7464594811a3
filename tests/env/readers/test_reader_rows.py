"""Packed columns read and write like any other; hashing names together changes no draw."""

import numpy as np
import pytest

from feedgym.env.noise import Noise
from feedgym.env.readers.reader_rows import PackedState, pack, put_rows, take_rows


def columns(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "hours": rng.random(n),
        "taste": rng.random((n, 5)).astype(np.float32),
        "count": rng.integers(0, 9, n).astype(np.int32),
        "member": rng.random(n) < 0.5,
    }


def test_columns_come_back_by_name_and_rows_fill_cache_lines() -> None:
    made = columns(7)
    state = PackedState(packed=pack(made), other=np.arange(7))
    for name, column in made.items():
        np.testing.assert_array_equal(state[name], column, err_msg=name)
        assert state[name].dtype == column.dtype
    assert state["packed"].dtype.itemsize == 64
    state["count"][3] = 77
    assert state["packed"]["count"][3] == 77  # a view
    assert sorted(state) == ["other", "packed"]  # what a snapshot keeps
    for missing in (state, PackedState(other=np.arange(7))):
        with pytest.raises(KeyError, match="trust"):
            missing["trust"]


def test_taken_rows_are_a_copy_until_they_are_put_back() -> None:
    packed, made, rows = pack(columns(9)), columns(9), np.array([7, 2, 4])
    taken = take_rows(packed, rows)
    for name, column in made.items():
        np.testing.assert_array_equal(taken[name], column[rows], err_msg=name)
    taken["count"] = [10, 11, 12]
    taken["taste"][1] = 5.0
    np.testing.assert_array_equal(packed["count"], made["count"])
    put_rows(packed, rows, taken)
    made["count"][rows] = [10, 11, 12]
    made["taste"][2] = 5.0
    for name, column in made.items():
        np.testing.assert_array_equal(packed[name], column, err_msg=name)


def test_joined_blocks_keep_the_layout() -> None:
    parts = [pack(columns(n)) for n in (3, 4)]
    joined = np.concatenate(parts)
    assert joined.dtype == parts[0].dtype
    np.testing.assert_array_equal(joined["taste"][3:], columns(4)["taste"])


def test_foreseen_names_draw_what_they_would_have_drawn() -> None:
    reader_id, visit, slates = np.arange(6) * 11, np.arange(6) % 4, np.arange(18).reshape(6, 3)
    plain, foreseen = Noise(3, reader_id, visit, slates), Noise(3, reader_id, visit, slates)
    foreseen.foresee("a", "b", "c")
    for name in ("a", "b", "c", "d"):
        for per in ("reader", "visit", "impression"):
            for draw in ("uniform", "normal", "exponential"):
                one, other = (getattr(noise, draw)(name, per) for noise in (plain, foreseen))
                assert one.tobytes() == other.tobytes(), (name, per, draw)
    assert not np.array_equal(foreseen.uniform("a"), foreseen.uniform("b"))


def test_nothing_is_foreseen_before_a_visit() -> None:
    with pytest.raises(ValueError, match=r"foresee: got \('click',\), needs a visit that is under way"):
        Noise(3, np.arange(6)).foresee("click")
