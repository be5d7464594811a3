"""The reader of the small languages: what is a term, what is a mark, and that every text of before still reads."""

import pytest

from feedgym.agents.editorial import CapPerCategory, Exclude, MinimumShare, Pin
from feedgym.agents.editorial.syntax import rules_of
from feedgym.agents.expressions import literal, number_of, source_of, split, terms_of
from feedgym.agents.learners.tasks import parse_tasks
from feedgym.agents.registry import parse_agent, split_agents


def test_marks_inside_brackets_do_not_cut() -> None:
    assert split("a=1,b=(2,3),c=f(4,[5,6])", ",") == ["a=1", "b=(2,3)", "c=f(4,[5,6])"]
    assert split("m=16+ef=200,x=1", "+,") == ["m=16", "ef=200", "x=1"]
    assert split("", ",") == [""]


def test_values_are_literals_or_words() -> None:
    words = {"4.0": 4.0, "(64,32)": (64, 32), "None": None, "ivf:nprobe=16": "ivf:nprobe=16", "exclude(topic=3)": None}
    for word, value in words.items():
        assert literal(word) == (word if word.startswith("exclude") else value)


def test_terms_of_a_sum() -> None:
    def read(text: str) -> list[str]:
        return [source_of(term) for term in terms_of(text)]

    assert read("click + .5 * dwell+next") == ["click", "0.5*dwell", "next"]
    # A keyword before a position, a printed tuple, numbers that begin with zeros.
    assert read("(cap(topic=3,1), exclude(age_hours>24))") == ["cap(topic=3,1)", "exclude(age_hours>24)"]
    assert read("exclude(007)") == ["exclude(7)"]
    assert [number_of(term) for term in terms_of("-3+0.5+True+x")] == [-3, 0.5, None, None]
    for text in ("", "click+", "cap(topic", "a b c ="):
        with pytest.raises(ValueError, match=r"needs terms joined by '\+'"):
            terms_of(text)


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("click", (("click", 1.0),)),
        ("click+0.5*dwell", (("click", 1.0), ("dwell", 0.5))),
        (" 2 * next + 1e-1 * subscription ", (("next", 2.0), ("subscription", 0.1))),
        ("05*click", (("click", 5.0),)),
    ],
)
def test_tasks(text: str, tasks: object) -> None:
    assert parse_tasks(text) == tasks


@pytest.mark.parametrize("text", ["", "sales", "click*2", "click+", "2*3*click", "-dwell", "click-dwell"])
def test_what_is_no_task_is_refused_with_those_that_there_are(text: str) -> None:
    needed = r"target: got .*, needs (click, dwell, subscription, next, completed, or|weights > 0)"
    with pytest.raises(ValueError, match=needed):
        parse_tasks(text)


def test_rules() -> None:
    text = "exclude(812)+exclude(age_hours>1e-1) + cap(topic=3,1)+pin(topic=3,1)+pin(7,0)+share(author=2,.25)"
    rules = rules_of(text)
    assert rules.exclude == (Exclude(article_id=812), Exclude(column="age_hours", above=0.1))
    assert rules.caps == (CapPerCategory("topic", 1, 3),)
    assert rules.pins == (Pin(position=1, column="topic", category=3), Pin(position=0, article_id=7))
    assert rules.shares == (MinimumShare("author", 2, 0.25),)
    for wrong in ("cap(topic", "812", "exclude(1).x", "exclude(a<b)", "pin(1,x)", "__import__('os')"):
        with pytest.raises(ValueError, match=r"rules: got .*, needs rules joined by"):
            rules_of(wrong)


def test_agents_of_one_word_or_several() -> None:
    one = "recent,popular:epsilon=0.1,rules=exclude(topic=3)+cap(topic,2),regression:widths=(64,32),target=click"
    agents = (
        "recent",
        "popular:epsilon=0.1,rules=exclude(topic=3)+cap(topic,2)",
        "regression:widths=(64,32),target=click",
    )
    assert split_agents([one]) == split_agents(agents) == agents
    # A setting whose value has a colon belongs to its agent, wherever it stands.
    many = split_agents(["regression:dim=8,index=ivf:nprobe=16+nlist=400,recent"])
    assert many == ("regression:dim=8,index=ivf:nprobe=16+nlist=400", "recent")
    assert parse_agent(many[0]).label == many[0]
