"""Keyed noise: what a draw depends on, and that it has the distribution that it claims."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from feedgym.env.noise import Noise, name_key

N, K = 40, 6
READER = 5 + 3 * np.arange(N, dtype=np.int64)
VISIT = np.arange(N) % 7
SLATES = np.random.default_rng(0).integers(0, 10**6, (N, K))
KINDS = ("uniform", "normal", "exponential")


def batch(rows: Any = slice(None), columns: Any = slice(None), **changes: Any) -> Noise:
    parts = {"seed": 4, "reader_id": READER[rows], "visit": VISIT[rows], "article_id": SLATES[rows][:, columns]}
    return Noise(**(parts | changes))


def draws(noise: Noise, name: str = "x") -> dict[str, Any]:
    found = {}
    for kind in KINDS:
        draw = getattr(noise, kind)
        found[f"{kind} per reader"] = draw(name, "reader")
        found[f"{kind} per visit"] = draw(name)
        found[f"{kind} per impression"] = draw(name, "impression")
        found[f"{kind} of size 3"] = draw(name, "visit", size=3)
    found["gamma"] = noise.gamma(name, 0.15, size=4)
    return found


@pytest.mark.parametrize(
    "rows", [np.arange(N)[::-1], np.array([7]), np.arange(5, 12), np.random.default_rng(1).permutation(N)]
)
def test_order_split_and_extra_rows_change_no_draw(rows: Any) -> None:
    whole, part = draws(batch()), draws(batch(rows))
    for name, values in whole.items():
        np.testing.assert_array_equal(values[rows], part[name], err_msg=name)
        assert values.dtype == part[name].dtype


def test_a_draw_of_an_impression_depends_on_the_article_and_not_on_its_position() -> None:
    columns = np.array([3, 0, 5])
    for kind in KINDS:
        whole, part = (
            getattr(batch(), kind)("x", "impression"),
            getattr(batch(columns=columns), kind)("x", "impression"),
        )
        np.testing.assert_array_equal(whole[:, columns], part)


def test_draws_of_more_do_not_change_the_first() -> None:
    np.testing.assert_array_equal(batch().uniform("x", size=9)[:, :4], batch().uniform("x", size=4))


def test_repeated_calls_draw_the_same() -> None:
    noise = batch()
    first = draws(noise)
    for name, values in draws(noise).items():
        np.testing.assert_array_equal(values, first[name])


@pytest.mark.parametrize(
    ("other", "also_per_reader"),
    [
        (draws(batch(), "y"), True),
        (draws(batch(seed=5)), True),
        (draws(batch(reader_id=READER + 1)), True),
        (draws(batch(visit=VISIT + 1)), False),
    ],
    ids=["name", "seed", "reader", "visit"],
)
def test_another_key_is_another_draw(other: dict[str, Any], also_per_reader: bool) -> None:
    for name, values in draws(batch()).items():
        per_reader = "per reader" in name or name == "gamma"
        if per_reader and not also_per_reader:
            np.testing.assert_array_equal(values, other[name], err_msg=name)
        else:
            assert np.mean(values == other[name]) < 0.05, name  # float32 uniforms may meet by chance


def test_another_article_is_another_draw() -> None:
    other = batch(article_id=SLATES + 1)
    for kind in KINDS:
        assert np.all(getattr(batch(), kind)("x", "impression") != getattr(other, kind)("x", "impression"))
        np.testing.assert_array_equal(getattr(batch(), kind)("x"), getattr(other, kind)("x"))


@pytest.mark.parametrize("kind", KINDS)
def test_at_equals_the_full_array_at_those_places(kind: str) -> None:
    mask = np.random.default_rng(2).random((N, K)) < 0.3
    draw = getattr(batch(), kind)
    some = draw("x", "impression", at=np.nonzero(mask))
    np.testing.assert_array_equal(some, draw("x", "impression")[mask])
    assert some.shape == (mask.sum(),)
    assert draw("x", "impression", at=np.nonzero(mask & False)).shape == (0,)


def test_shapes_dtypes_and_memory_order() -> None:
    for kind in KINDS:
        draw = getattr(batch(), kind)
        assert (draw("x").shape, draw("x").dtype) == ((N,), np.float64)
        assert (draw("x", "reader", size=2).shape, draw("x", "reader", size=2).dtype) == ((N, 2), np.float64)
        impressions = draw("x", "impression")
        assert (impressions.shape, impressions.dtype) == ((N, K), np.float32)
    slates = np.ascontiguousarray(SLATES.T).T  # as the Feed hands them over: position-major
    for kind in KINDS:
        assert getattr(batch(article_id=slates), kind)("x", "impression").T.flags.c_contiguous


def test_the_same_draws_in_another_process() -> None:
    code = (
        "import numpy as np; from feedgym.env.noise import Noise;"
        "print(Noise(4, np.array([5, 8])).uniform('x', 'reader').tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(batch().uniform("x", "reader")[:2].tolist())


def test_known_numbers() -> None:
    """A changed draw changes every result under every seed: that must not happen by accident."""
    noise = Noise(0, np.array([0, 1]), np.array([0, 0]), np.array([[0], [7]]))
    np.testing.assert_allclose(noise.uniform("x", "reader"), KNOWN_READER, rtol=1e-12)
    np.testing.assert_allclose(noise.uniform("x", "impression")[:, 0], KNOWN_IMPRESSION, rtol=1e-6)


KNOWN_READER = [0.06398397051364513, 0.19348252829076162]
KNOWN_IMPRESSION = [0.04711806774139404, 0.15217173099517822]

# Distributions. The seed is fixed: red means that the code changed.

MANY = 40_000
BIG = Noise(9, np.arange(MANY, dtype=np.int64), np.full(MANY, 3), np.arange(5 * MANY).reshape(MANY, 5) % 977)


def ks(values: Any, cdf: Callable[..., Any], *shape: float) -> float:
    return float(stats.kstest(np.asarray(values, dtype=np.float64).ravel(), cdf, args=shape).pvalue)


def samples(kind: str) -> dict[str, Any]:
    draw = getattr(BIG, kind)
    return {
        "reader": draw("a", "reader"),
        "visit": draw("b"),
        "size": draw("c", "reader", size=3),
        "impression": draw("d", "impression"),
        # The keys that a run uses: one reader's visits, one reader's articles.
        "one reader's visits": getattr(Noise(9, np.full(MANY, 12), np.arange(MANY)), kind)("e"),
        "one visit's articles": getattr(Noise(9, np.array([12]), np.array([3]), np.arange(MANY)[None]), kind)(
            "f", "impression"
        ),
    }


@pytest.mark.parametrize(
    ("kind", "cdf", "wrong", "wrong_args"),
    [
        ("uniform", stats.uniform.cdf, stats.beta.cdf, (1.03, 1.0)),
        ("normal", stats.norm.cdf, stats.norm.cdf, (0.02, 1.0)),
        ("exponential", stats.expon.cdf, stats.expon.cdf, (0.0, 1.03)),
    ],
)
def test_draws_have_the_stated_distribution(kind: str, cdf: Any, wrong: Any, wrong_args: tuple[float, ...]) -> None:
    found = {name: ks(values, cdf) for name, values in samples(kind).items()}
    assert min(found.values()) > 1e-3, found
    pooled = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in samples(kind).values()])
    assert ks(pooled, cdf) > 1e-3
    assert ks(pooled, wrong, *wrong_args) < 1e-6  # the check can fail


def test_uniform_draws_fill_a_square_evenly() -> None:
    """Neighbouring readers, visits, articles and names: the serial test, by chi-square on 16 x 16 cells."""
    u = BIG.uniform("d", "impression").ravel()
    names = [BIG.uniform(f"n{i}") for i in range(2)]
    visits = Noise(9, np.full(MANY, 12), np.arange(MANY)).uniform("e")
    pairs = {"articles": (u[:-1], u[1:]), "names": (names[0], names[1]), "visits": (visits[:-1], visits[1:])}
    for label, (one, other) in pairs.items():
        counts = np.histogram2d(one, other, bins=16, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(counts.ravel()).pvalue > 1e-3, label
    counts = np.histogram2d(u[:-1], 0.9 * u[1:] + 0.1 * u[:-1], bins=16, range=[[0, 1], [0, 1]])[0]
    assert stats.chisquare(counts.ravel()).pvalue < 1e-6


def test_uniforms_are_below_one() -> None:
    for values in samples("uniform").values():
        assert values.min() >= 0.0
        assert values.max() < 1.0


@pytest.mark.parametrize("shape", [0.15, 0.9, 1.0, 3.5])
def test_gamma(shape: float) -> None:
    values = BIG.gamma("g", shape, size=3)
    assert np.isfinite(values).all()
    assert ks(values, stats.gamma.cdf, shape) > 1e-3
    assert ks(values, stats.gamma.cdf, 1.03 * shape) < 1e-6


def test_dirichlet() -> None:
    """Normalised gammas: each share is Beta(c, (T - 1) c), and two shares correlate by -1 / (T - 1)."""
    values = BIG.gamma("taste", 0.15, size=16)
    shares = values / values.sum(axis=1, keepdims=True)
    for topic in (0, 7, 15):
        assert ks(shares[:, topic], stats.beta.cdf, 0.15, 15 * 0.15) > 1e-3
    assert ks(shares[:, 0], stats.beta.cdf, 0.16, 15 * 0.16) < 1e-6
    correlation = np.corrcoef(shares[:, :4].T)[np.triu_indices(4, 1)]
    np.testing.assert_allclose(correlation, -1.0 / 15.0, atol=4.0 / np.sqrt(MANY))


# Errors


def test_draws_that_cannot_be_keyed_are_refused() -> None:
    spawn = Noise(0, READER)
    for kind in KINDS:
        assert getattr(spawn, kind)("x", "reader").shape == (N,)
        with pytest.raises(ValueError, match="per: got 'visit', needs 'reader' where no visit is under way"):
            getattr(spawn, kind)("x")
        with pytest.raises(ValueError, match="per: got 'impression'"):
            getattr(spawn, kind)("x", "impression")
        with pytest.raises(ValueError, match="per: got 'impression', needs 'visit' or 'reader' where no slate"):
            getattr(Noise(0, READER, VISIT), kind)("x", "impression")


def test_no_reader_no_draw() -> None:
    none = Noise(0, READER[:0], VISIT[:0], SLATES[:0])
    assert none.uniform("x").shape == (0,)
    assert none.normal("x", "impression").shape == (0, K)
    assert none.gamma("x", 0.5, size=2).shape == (0, 2)


def test_names_are_keyed_apart() -> None:
    keys = {int(name_key(f"name {i}")) for i in range(2000)}
    assert len(keys) == 2000


def test_single_precision_normals_are_normal_and_independent() -> None:
    reader = np.arange(40_000)
    draws = Noise(2, reader, reader % 3).normals("drift", 5)
    assert draws.shape == (40_000, 5)
    assert draws.dtype == np.float32
    for column in draws.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    # Both of a Box-Muller pair come from one word.
    for values in (draws, draws**2):
        assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 4.0 * len(reader) ** -0.5
    assert stats.kstest(draws[:, 0] * 1.06, "norm").pvalue < 1e-3
    assert not np.array_equal(draws, Noise(2, reader, reader % 3).normals("other", 5))


def test_the_noise_of_some_visits_is_that_of_the_whole() -> None:
    reader, some = np.arange(500), np.array([7, 499, 3, 44])
    whole = Noise(2, reader, reader % 5)
    whole.foresee("a")
    part = whole.of(some)
    for draw in ("uniform", "normal", "exponential"):
        assert getattr(part, draw)("a").tobytes() == getattr(whole, draw)("a")[some].tobytes()
        assert getattr(part, draw)("b", "reader").tobytes() == getattr(whole, draw)("b", "reader")[some].tobytes()
    assert part.normals("c", 3).tobytes() == whole.normals("c", 3)[some].tobytes()
    one = whole.of(some[1:2])
    assert one.normals("c", 3).tobytes() == whole.normals("c", 3)[499:].tobytes()


def test_draws_at_keys_are_of_visit_and_key_alone() -> None:
    """Such as one for each article of a shortlist: whatever the batch, the order of the keys, or who else draws."""
    whole = batch().uniform_at("x", SLATES)
    assert whole.dtype == np.float64
    rows, columns = np.array([30, 2, 9]), np.array([4, 1])
    np.testing.assert_array_equal(batch(rows).uniform_at("x", SLATES[rows][:, columns]), whole[rows][:, columns])
    np.testing.assert_array_equal(batch().of(rows).uniform_at("x", SLATES[rows]), whole[rows])
    shared = batch().uniform_at("x", np.arange(K)[None])
    np.testing.assert_array_equal(shared, batch().uniform_at("x", np.tile(np.arange(K), (N, 1))))
    np.testing.assert_array_equal(batch().exponential_at("x", SLATES), -np.log(whole))
    for other in (batch().uniform_at("y", SLATES), batch(visit=VISIT + 7).uniform_at("x", SLATES)):
        assert not np.isin(other, whole).any()
    assert not np.isin(batch(stream="agent").uniform_at("x", SLATES), whole).any()


def test_draws_at_keys_are_uniform_and_never_0_or_1() -> None:
    keys = np.arange(500, dtype=np.int64)
    values = batch().uniform_at("x", keys[None])
    assert ((values > 0) & (values < 1)).all()
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-3
    # Neighbouring keys and neighbouring visits know nothing of each other.
    for one, two in ((values[:, 1:], values[:, :-1]), (values[1:], values[:-1])):
        assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 4 / np.sqrt(one.size)
