"""What a kind of agent is made of: its settings come from dataclasses, and every entry point checks them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest

from feedgym.agents import AgentKind, make_agent, parse_agent
from feedgym.agents.baselines import RecentConfig, random_agent
from feedgym.agents.learners import LtvConfig, RegressionConfig
from feedgym.agents.registry import KINDS, learned_kind
from feedgym.agents.two_tower import TwoTowerAgentConfig
from feedgym.experiments.commands import agents as agents_command
from feedgym.experiments.commands.log import LogConfig
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.offline import OfflineConfig
from feedgym.experiments.train import TrainConfig
from feedgym.towers import TowersConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    """A group."""

    depth: int = 2
    """How deep."""
    word: Literal["a", "b"] = "a"
    """Which word."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Settings, and a group of them."""

    inner: Inner = field(default_factory=Inner)
    """The group."""
    share: float = 0.5
    """A share."""
    bound: float | None = None
    """A bound, or none."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""
    flag: bool = False
    """On or off."""

    def __post_init__(self) -> None:
        """Check once."""
        if not 0 <= self.share <= 1:
            raise ValueError(f"share: got {self.share!r}, needs a share")


def kind_of(*configs: type, **more: Any) -> AgentKind:
    return AgentKind(description="mine", configs=configs, build=lambda site, feed, *c: random_agent(site), **more)


def test_groups_are_flat_words_with_the_defaults_of_their_dataclasses() -> None:
    kind = kind_of(Outer, defaults={"depth": 3})
    assert dict(kind.settings) == {
        "share": 0.5,
        "bound": None,
        "sizes": (1, 2),
        "flag": False,
        "depth": 3,
        "word": "a",
    }
    (made,) = kind.make_configs({"word": "b", "share": 0.25})
    assert made == Outer(inner=Inner(depth=3, word="b"), share=0.25)


def test_a_name_that_two_groups_share_is_an_error_when_the_kind_is_made() -> None:
    @dataclass(frozen=True)
    class Other:
        depth: int = 5

    with pytest.raises(ValueError, match="configs: got \"'depth' in Inner and Other\", needs a name in one group only"):
        kind_of(Outer, Other)
    with pytest.raises(ValueError, match="'batch_visits' in RegressionConfig and LtvConfig"):
        learned_kind("both", lambda *c: None, RegressionConfig, LtvConfig)  # type: ignore[arg-type]


def test_a_kind_without_a_default_or_with_an_unknown_one_is_refused() -> None:
    @dataclass(frozen=True)
    class Needs:
        size: int

    with pytest.raises(ValueError, match=r"Needs\.size: got 'no default'"):
        kind_of(Needs)
    with pytest.raises(ValueError, match="defaults: got 'width', needs one of share, bound"):
        kind_of(Outer, defaults={"width": 3})
    with pytest.raises(ValueError, match="needs dataclasses"):
        kind_of(dict)


@pytest.mark.parametrize("name", KINDS)
def test_the_defaults_of_what_ships_pass_its_own_checks(name: str) -> None:
    # make_agent does not check them again, so that naming an agent loads no torch.
    KINDS[name].make_configs({})


GOOD: dict[str, Any] = {
    "share": [1, 0.25, np.float32(0.5)],
    "bound": [None, 2, 2.5],
    "sizes": [(), (3,), (np.int64(3), 4)],
    "flag": [True],
    "depth": [3, np.int64(3)],
    "word": ["b"],
}
BAD: dict[str, Any] = {
    "share": ["much", None, True, (1.0,)],
    "bound": ["wide", (1,)],
    "sizes": [3, [3, 4], (2.5,), ("a",)],
    "flag": [1, "yes", None],
    "depth": [2.5, True, "3"],
    "word": [3, None],
}


def test_the_type_of_a_setting_is_that_of_its_field() -> None:
    kind = kind_of(Outer)
    for name, values in GOOD.items():
        for value in values:
            kind.changed("mine", {name: value})
    for name, values in BAD.items():
        for value in values:
            with pytest.raises(ValueError, match=f"{name} of mine: got .*, needs a "):
                kind.changed("mine", {name: value})
    with pytest.raises(ValueError, match="bound of mine: got 'wide', needs a float, or None"):
        kind.changed("mine", {"bound": "wide"})


ENTRY_POINTS: dict[str, Callable[[str, Path], object]] = {
    "make_agent": lambda text, _: make_agent(text.partition(":")[0], **_settings(text)),
    "parse_agent": lambda text, _: parse_agent(text),
    "compare": lambda text, out: CompareConfig(agents=("random", text), out=out),
    "train": lambda text, out: TrainConfig(agent=text, out=out),
    "log": lambda text, out: LogConfig(agent=text, out=out),
    "offline": lambda text, out: OfflineConfig(log=out, agent=text),
    "offline's reward model": lambda text, out: OfflineConfig(log=out, reward_model=text),
}


def _settings(text: str) -> dict[str, Any]:
    words = (word.split("=") for word in text.partition(":")[2].split(","))
    return {key: float(value) if value.replace(".", "").isdigit() else value for key, value in words}


@pytest.mark.parametrize("entry", ENTRY_POINTS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regression-click:dropout=1.5", "dropout: got 1.5, needs in"),  # towers
        ("regression-click:encoder=lstm", "encoder: got 'lstm', needs one of mean, attention"),
        ("regression-click:target=sales", "target: got 'sales'"),  # learner
        ("contrastive:loss=hinge", "loss: got 'hinge', needs one of softmax"),
        ("contrastive:loss=gbce", "negatives: got 'in_batch', needs uniform with loss=gbce"),
        ("regression-click:epsilon=1.5", "epsilon: got 1.5"),  # policy
        ("regression-click:serving=nightly", "serving: got 'nightly', needs one of realtime"),  # serving
        ("regression-click:index=magic", "kind: got 'magic', needs one of exact"),
        ("regression-click:index=ivf:nprobe=0", "nprobe: got 0"),
        ("regression-click:learning_rate=0", "learning_rate: got 0"),  # optimiser
    ],
)
def test_every_entry_point_refuses_a_bad_value_where_it_is_named(
    entry: str, text: str, message: str, tmp_path: Path
) -> None:
    if entry == "make_agent" and text.count("=") > 1:
        text = text.replace("index=ivf:nprobe=0", "index=magic")
        message = "kind: got 'magic'"
    with pytest.raises(ValueError, match=message):
        ENTRY_POINTS[entry](text, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_go_together_is_refused_where_it_is_named() -> None:
    def check(config: Outer) -> None:
        if config.flag and config.bound is None:
            raise ValueError("bound: got None, needs a number with flag=True")

    kind = kind_of(Outer, check=check)
    kind.make_configs({"flag": True, "bound": 1.0})
    with pytest.raises(ValueError, match="needs a number with flag=True"):
        kind.make_configs({"flag": True})


def test_the_groups_of_a_learned_agent_are_what_they_are_of() -> None:
    agent = TwoTowerAgentConfig()
    assert list(vars(agent)) == ["towers", "features", "second_stage", "serving", "optimiser", "policy"]
    assert agent.towers == TowersConfig()
    for group in vars(agent).values():
        docs = agents_command.docs_below_fields(cast("Any", type(group)))
        assert set(docs) == set(vars(group))
        assert type(group).__doc__


MODULE = '''
from dataclasses import dataclass
from feedgym.agents import AgentKind
from feedgym.agents.baselines import random_agent

@dataclass(frozen=True)
class Base:
    """My settings."""

    shift: float = 1.0
    """How far."""

MINE = AgentKind(description="mine", configs=(Base,), build=lambda site, feed, config: random_agent(site))
'''


def test_the_help_of_an_agent_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shifting_agents.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    agents_command.main(["shifting_agents.MINE"])
    assert capsys.readouterr().out.splitlines() == [
        "shifting_agents.MINE: mine",
        "",
        "My settings.",
        "  shift=1.0",
        "      How far.",
        "",
        "To change one: --agents shifting_agents.MINE:shift=1.0",
    ]
    with pytest.raises(SystemExit, match=r"agent: got 'no_such_module\.MINE', needs an importable module"):
        agents_command.main(["no_such_module.MINE"])


def test_the_help_lists_the_names_of_the_tables() -> None:
    text = " ".join(agents_command.settings_text("contrastive").split())
    assert "What makes one vector of a reader's clicks. One of mean, attention, nrms, gru, sasrec, bert4rec" in text
    assert "One of in_batch, uniform, mixed, popularity, impressed, hard, memory" in text
    assert "One of exact, ivf, ivf-sq8, hnsw, auto (of feedgym.agents.retrieval.INDEXES)." in text
    assert "scale_hours" in {setting.name for setting in KINDS["recent"].table if setting.group is RecentConfig}
