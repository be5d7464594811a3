"""docs/mathematics.md and its pages: tables name what the code offers, values are those of worlds and tests."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from feedgym.agents.learners.gradients.policy_gradient import ESTIMATORS
from feedgym.agents.ope.estimators import DEFAULT
from feedgym.agents.ope.estimators import ESTIMATORS as VALUE_ESTIMATORS
from feedgym.agents.slate_policy.importance import WEIGHT_METHODS
from feedgym.env import WORLDS
from feedgym.env.worlds import Preset
from feedgym.experiments.studies.worlds.measured_facts import FACTS, POLICIES
from feedgym.towers.losses import gbce_beta

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "mathematics"
NAMES = ("learning", "evaluation", "towers", "worlds", "values")
LEARNING, EVALUATION, TOWERS, WORLDS_PAGE, VALUES = ((PAGES / f"{name}.md").read_text() for name in NAMES)


def section(page: str, number: str) -> str:
    """The text of one section, without its parts."""
    found = re.search(rf"^#+ {re.escape(number)} .*?(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def rows(text: str) -> list[list[str]]:
    """Cells of the tables of a text, heads included."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def numbers(text: str) -> list[float]:
    return [float(x.replace(",", "")) for x in re.findall(r"(?<![\w.])-?(?:\d[\d,]*)?\.?\d+", text)]


# Names


def test_estimators_of_the_gradient() -> None:
    names = [row[0] for row in rows(section(LEARNING, "3.2"))]
    assert {name.split("`")[1] for name in names[1 : 1 + len(ESTIMATORS)]} == set(ESTIMATORS)


def test_what_is_done_to_weights() -> None:
    assert set(re.findall(r"^- `(\w+)`:", section(LEARNING, "3.1"), re.MULTILINE)) == set(WEIGHT_METHODS)


def test_estimators_of_a_value() -> None:
    """A row for each, self-normalised ones beside their own; and what the default report is said to hold."""
    names = {
        "SIPS": "sips",
        "RIPS (McInerney et al., KDD 2020)": "rips",
        "IIPS (Li et al., KDD 2018)": "iips",
        "inclusion IPS": "inclusion_ips",
        "pseudo-inverse (Swaminathan et al., NIPS 2017)": "pseudo_inverse",
        "cascade-DR (Kiyohara et al., WSDM 2022)": "cascade_dr",
        "IIPS-DR": "iips_dr",
        "DM": "dm",
    }
    assert [names[row[0]] for row in rows(section(EVALUATION, "5.2"))[1:]] == list(names.values())
    normalised = {"snsips", "snrips", "sniips", "sniips_dr"}
    assert set(names.values()) | normalised == set(VALUE_ESTIMATORS)
    assert DEFAULT == ("sniips", "snrips", "cascade_dr", "dm")


# Values


def written(text: str, digits: int) -> set[str]:
    """Decimals of so many digits and more, without a leading zero."""
    plain = re.sub(r"(?<!\d)0\.", ".", text.replace("_", ""))
    return set(re.findall(rf"(?<![\w.])\d*\.\d{{{digits},}}", plain))


def test_values_are_those_of_tests() -> None:
    """A value that no test holds is not to stand on the page, but for the table that says so."""
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    held = written(tests, 1)
    assert len(written(VALUES, 5)) > 100
    assert written(VALUES, 5) - held == set()
    once = written(section(VALUES, "10.6"), 3)
    assert written(VALUES, 3) - held - once == set()
    assert written(LEARNING, 3) - held == set()
    assert written("0.123456 and 1.5", 3) - held == {".123456"}


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (".97153194", 2 ** (-1 / 24)),
        (".02888113", math.log(2) / 24),
        ("3.46246810", 0.1 * 24 / math.log(2)),
        ("4.46246810", 1 + 0.1 * 24 / math.log(2)),
        ("3.02965959", 0.1 * 24 / math.log(2) * (1 - 2 ** (-72 / 24))),
    ],
)
def test_closed_forms(number: str, value: float) -> None:
    assert number in EVALUATION
    assert float(number) == pytest.approx(value, abs=6e-9)


def test_optima_of_gbce() -> None:
    text = section(TOWERS, "6.5")
    p, alpha = 0.4, 2 / 5
    for t, said in ((0.0, ".625"), (0.5, ".53846"), (1.0, ".4")):
        beta = gbce_beta(2, 6, t)
        assert float(said) == pytest.approx(beta * p / (beta * p + alpha * (1 - p)), abs=5e-6)
        assert said in text


# Worlds

Read = Callable[[Preset], list[float]]
KINDS: Read = lambda w: [x for kind in w.feed.newsroom.half_lives for x in (kind.median_hours, kind.share)]
PARAMETERS: dict[str, Read] = {
    "articles a day": lambda w: [w.feed.newsroom.articles_per_day],
    "half-life, median (share)": KINDS,
    "log-sd of the half-life in a class": lambda w: [w.feed.newsroom.half_life_log_sd],
    "expiry": lambda w: [w.feed.newsroom.max_age_hours or w.feed.newsroom.max_age_half_lives],
    "topics; exponent of supply": lambda w: [w.feed.newsroom.num_topics, w.feed.newsroom.topic_exponent],
    "spread around the topic's centre": lambda w: [w.feed.newsroom.spread],
    "publishers; sd of `q_p` and `c_p`": lambda w: [w.feed.newsroom.num_publishers, w.feed.newsroom.publisher_sd],
    "noise on vector, `c`, `q`": lambda w: [
        w.feed.newsroom.vector_noise,
        w.feed.newsroom.clickbait_noise,
        w.feed.newsroom.quality_noise,
    ],
    "taste": lambda w: [w.reader.taste],
    "`w_c`, `w_q`": lambda w: [w.reader.clickbait_weight, w.reader.quality_weight],
    "`b0`": lambda w: [w.reader.base_log_odds],
    "slate size": lambda w: [w.feed.slate_size],
    "`w_fat`; half-life; `w_again`": lambda w: [
        w.reader.fatigue_weight,
        w.reader.fatigue_half_life_hours,
        w.reader.already_clicked_weight,
    ],
    "slots of the exposure memory": lambda w: [w.reader.memory_slots],
    "satiation: weight, step, half-life": lambda w: [
        w.reader.satiation_weight,
        w.reader.satiation_step,
        w.reader.satiation_half_life_hours,
    ],
    "`d_q`, `d_c`, `d_u`": lambda w: [w.reader.dwell_quality, w.reader.dwell_clickbait, w.reader.dwell_taste],
    "trust step `a`; `v_q`, `v_c`, `e_none`": lambda w: [
        w.reader.trust_step,
        w.reader.value_quality,
        w.reader.value_clickbait,
        w.reader.value_nothing,
    ],
    "`kappa`; mix": lambda w: [w.reader.return_sensitivity, w.reader.return_mix],
    "base gap, median; log-sd": lambda w: [w.reader.gap_median_hours, w.reader.gap_log_sd],
    "short returns: chance; median; log-sd": lambda w: [
        w.reader.short_return_share,
        w.reader.short_return_median_hours,
        w.reader.short_return_log_sd,
    ],
    "own hour: chance; sd": lambda w: [w.reader.return_hour_habit, w.reader.return_hour_sd_hours],
    "continuation; sd of its log-odds between readers": lambda w: [
        w.reader.continuation,
        w.reader.continuation_log_odds_sd,
    ],
    "leaving per day at trust 0": lambda w: [w.reader.leaving_per_day],
    "subscribing, hazard of a satisfying read": lambda w: [w.reader.subscribe_hazard],
    "newcomers per day, over the readers of hour 0": lambda w: [w.feed.newcomers_per_day],
    "weekend publication": lambda w: [w.feed.newsroom.weekend_factor],
}
"""Rows of section 9.3 whose cells are numbers; a cell may say "the same"."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_worlds(name: str) -> None:
    (row,) = (row for row in rows(section(WORLDS_PAGE, "9.3")) if row[0] == name)
    read = PARAMETERS[name]
    assert numbers(row[1]) == pytest.approx(read(WORLDS["vivid"]))
    assert numbers(row[1] if row[2] == "the same" else row[2]) == pytest.approx(read(WORLDS["measured"]))


def test_parameters_that_are_written_in_words() -> None:
    vivid, measured = WORLDS["vivid"], WORLDS["measured"]
    text = {row[0]: row[1:] for row in rows(section(WORLDS_PAGE, "9.3"))}
    assert set(text) - set(PARAMETERS) == {
        *("parameter", "interest", "drift of interest", "examination", "exposures that tire", "habit exponent", "tick"),
        *("minutes: `exp(d0)`, `d_s`, cap", "traffic by hour of day", "breaking events"),
    }
    assert vivid.reader.taste_concentration == numbers(text["interest"][0])[0] == 0.15
    assert f"{measured.reader.interest_sd}".lstrip("0") in text["interest"][1]
    assert (vivid.reader.drift_time_hours, measured.reader.drift_time_hours) == (0.0, 2400.0)
    assert "2,400 h" in text["drift of interest"][1]
    assert text["examination"][0] == f"`{vivid.reader.examination:.2f}^(k - 1)`".replace("0.", ".")
    phone, pc = measured.reader.devices
    assert (phone.rank_exponent, phone.share, pc.rank_exponent) == (1.0, 0.6, 0.37)
    assert text["examination"][1] == "`k^-1.0` on phones (.6 of readers), `k^-.37` on PCs"
    assert text["exposures that tire"] == ["all shown", "the same", "D"]
    assert (vivid.reader.only_examined_tire, measured.reader.only_examined_tire) == (False, False)
    assert (vivid.reader.habit_exponent, measured.reader.habit_exponent) == (0.6, 1 / 0.9)
    assert (vivid.feed.tick_hours, measured.feed.tick_hours) == (1 / 4, 1 / 12)
    minutes = text["minutes: `exp(d0)`, `d_s`, cap"]
    for world, cell, unit in ((vivid, minutes[0], 1.0), (measured, minutes[1], 60.0)):
        c = world.reader
        assert numbers(cell) == pytest.approx(
            [unit * math.exp(c.dwell_log_minutes), c.dwell_log_sd, c.dwell_cap_minutes]
        )
    events = measured.feed.newsroom.events
    said = numbers(text["breaking events"][1])
    expected = [1 / events.per_day, events.surge_median, events.surge_log_sd, events.trend_log_odds]
    assert said == pytest.approx([*expected, events.trend_hours / 24])
    assert vivid.feed.newsroom.events.per_day == 0


def test_facts_and_their_bands() -> None:
    said = [tuple(row[:3]) for row in rows(section(WORLDS_PAGE, "9.4"))[1:]]
    assert said == [(f"`{fact.policy}`", fact.name, fact.band) for fact in FACTS]
    assert "scale_hours=14.0" in str(POLICIES["recent"])
    assert "`-age / 14 h`" in section(WORLDS_PAGE, "9.4")
