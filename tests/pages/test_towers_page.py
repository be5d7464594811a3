"""docs/guide/towers.md: its tables are those of the code, its module runs in every way that the page names."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.contrasts import CONTRASTS, Contrast
from feedgym.agents.learners.regressions import REGRESSIONS
from feedgym.agents.learners.settings import ContrastiveConfig
from feedgym.agents.registry import split_agents
from feedgym.agents.registry.plans import kind_named, parse_agent
from feedgym.agents.registry.published import SYSTEMS
from feedgym.env import Feed, FeedConfig
from feedgym.experiments import compare
from feedgym.experiments.commands import towers
from feedgym.experiments.compare import CompareConfig
from feedgym.experiments.runs.run_config import RunConfig
from feedgym.towers.age_decay import AGE_DECAYS
from feedgym.towers.config import ITEM_ENCODERS
from feedgym.towers.encoders import HISTORY_ENCODERS, make_history_encoder
from feedgym.towers.negatives import NEGATIVES, NegativeContext, make_negatives, registry
from feedgym.towers.prediction import PREDICTIONS
from feedgym.towers.rerankers import RERANKERS

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "towers.md").read_text()
MODULE, LOSSES, NOTEBOOK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TABLES: tuple[dict[str, Any], ...] = (HISTORY_ENCODERS, PREDICTIONS, CONTRASTS, NEGATIVES)
SHIPPED = tuple(tuple(table) for table in TABLES)


@pytest.fixture
def my_towers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page's module in the current folder, imported; afterwards the tables are as they were."""
    (tmp_path / "my_towers.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    sys.modules.pop("my_towers", None)
    before = [dict(table) for table in TABLES]
    kind_named("my_towers.MINE")
    yield sys.modules["my_towers"]
    del sys.modules["my_towers"]
    for table, old in zip(TABLES, before, strict=True):
        table.clear()
        table.update(old)


def names_in(title: str) -> list[str]:
    """First column of the table that has this title."""
    table = PAGE.split(f"| `{title}` |")[1].split("\n\n")[0]
    return re.findall(r"^\| `([\w+]+)` \|", table, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("encoder", SHIPPED[0]),
        ("item_encoder", ITEM_ENCODERS),
        ("share", ("none", "embeddings", "item_encoder")),
        ("prediction", (*SHIPPED[1], *RERANKERS)),
        ("age_decay", AGE_DECAYS),
        ("loss", SHIPPED[2]),
        ("negatives", SHIPPED[3]),
    ],
)
def test_every_choice_is_on_the_page(title: str, known: Any) -> None:
    assert names_in(title) == [*known]


def test_the_published_systems_are_those_of_the_code() -> None:
    part = PAGE.split("## Published systems")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| (\w+) \| (.*) \|$", part, flags=re.MULTILINE)
    assert rows == [(name, system.learner, system.source) for name, system in SYSTEMS.items()]


def test_the_price_of_ids_is_what_the_command_says() -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    printed = towers.towers_text(towers.TowersCommandConfig(agent="uber-shared", ids=1_000_000))
    assert shown.strip() in printed


def test_settings_and_agents_in_the_text_exist() -> None:
    settings = {key for name in ("regression", "contrastive", "sasrec") for key in kind_named(name).settings}
    named = set(re.findall(r"`(\w+)=", PAGE)) | set(re.findall(r"`(\w+_\w+)`", PAGE.split("## Add your own")[0]))
    words = {name for table in TABLES for name in table} | {"item_encoder", "age_decay"}
    others = {"make_agent", "predicts", *REGRESSIONS}
    assert named - settings - words - others == set()
    for line in re.findall(r"^feedgym compare --agents (.*?)(?: --.*)?$", PAGE, flags=re.MULTILINE):
        for agent in split_agents(line.split()):
            if not agent.startswith("my_towers"):
                parse_agent(agent).start(Feed(FeedConfig(num_readers=5, days=1.0)))


# ---- your own ----
def test_a_loss_of_ones_own_says_what_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_losses.py").write_text(LOSSES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_losses", raising=False)
    monkeypatch.setitem(REGRESSIONS, "absolute", REGRESSIONS["pointwise"])  # so that it is taken back
    feed = Feed(FeedConfig(num_readers=60, days=0.5, tick_hours=1.0), seed=3)
    agent = parse_agent("my_losses.MEDIAN:max_steps=4").start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    assert np.isfinite(agent.metrics()["loss"])
    with pytest.raises(ValueError, match="needs dwell with loss=absolute, not click"):
        parse_agent("my_losses.MEDIAN:target=click")
    del sys.modules["my_losses"]


def test_the_own_agent_lives_in_processes_of_a_comparison(
    my_towers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [words for words in re.findall(r"^feedgym compare (.*)$", PAGE, re.MULTILINE) if "my_towers" in words]
    small = ["--readers", "60", "--days", "1", "--tick-hours", "4", "--seeds", "0", "--workers", "2"]
    compare.main([*line.split(), *small, "--out", str(tmp_path / "out")])
    report = capsys.readouterr().out
    assert "my_towers.MINE" in report
    assert "my_towers.MINE:encoder=sasrec,loss=softmax" in report
    assert len(list((tmp_path / "out").glob("runs/my_towers*/seed-0/done.json"))) == 2
    towers.main(["my_towers.MINE"])
    assert "fading of the last" in capsys.readouterr().out


def test_each_of_the_four_is_used_and_trained(my_towers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(FeedConfig(num_readers=200, days=1.0, tick_hours=1.0), seed=3)
    agent: Any = parse_agent("my_towers.MINE").start(feed)
    assert isinstance(agent.model.history, my_towers.Fading)
    assert isinstance(agent.model.prediction, my_towers.Direction)
    calls = {"margin": 0, "newest": 0}
    draw = my_towers.Newest.draw

    def counted_draw(self: Any, context: NegativeContext, rng: np.random.Generator) -> Any:
        calls["newest"] += 1
        return draw(self, context, rng)

    def counted_loss(contrast: Contrast) -> torch.Tensor:
        calls["margin"] += 1
        loss: torch.Tensor = my_towers.margin(contrast)
        return loss

    monkeypatch.setattr(my_towers.Newest, "draw", counted_draw)
    monkeypatch.setitem(CONTRASTS, "margin", counted_loss)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    assert calls["margin"] == calls["newest"] >= 8
    assert agent.model.history.rate.item() != pytest.approx(0.1, abs=1e-6)


def test_the_notebook_runs(my_towers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(NOTEBOOK, "docs/guide/towers.md", "exec"), {})
    assert re.fullmatch(r"trained [1-9]\d* times\n", capsys.readouterr().out)


def test_the_encoder_keeps_the_rules(my_towers: Any) -> None:
    encoder = make_history_encoder("fading", 3, 3, generator=torch.Generator().manual_seed(0), max_length=4)
    vectors = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[True, True, False, False], [True, True, True, True]])
    both = encoder(vectors, mask)
    torch.testing.assert_close(both[0], encoder(vectors[:1, :2], mask[:1, :2])[0])
    weight = np.exp(-0.1 * np.arange(4))
    by_hand = (weight[:, None] * vectors[1].numpy()).sum(axis=0) / weight.sum()
    np.testing.assert_allclose(both[1].detach().numpy(), by_hand, rtol=1e-5)
    assert torch.equal(encoder(vectors, torch.zeros_like(mask)), torch.zeros(2, 3))


def test_negatives_are_as_frequent_as_their_log_q_says(my_towers: Any) -> None:
    live = np.array([4, 9, 2, 30, 11, 7])
    context = NegativeContext(
        positive_ids=np.array([9, 30]),
        positive_log_q=np.zeros(2),
        live_ids=live,
        live_share=np.zeros(6),
    )
    sampler, rng, times = make_negatives("newest"), np.random.default_rng(5), 400
    seen, expected = dict.fromkeys(live, 0), {}
    for _ in range(times):
        drawn = sampler.draw(context, rng)
        for article, log_q in zip(drawn.shared_ids, drawn.log_q_shared, strict=True):
            seen[article] += 1
            expected[article] = times * np.exp(log_q)
    chi_square = sum((seen[a] - expected[a]) ** 2 / expected[a] for a in live)
    assert chi_square < 20.5  # 5 degrees of freedom: 1 in 1,000
    own = np.exp(drawn.log_q_positive) * times
    np.testing.assert_allclose(own, [expected[9], expected[30]])
    assert expected[30] > 1.4 * expected[2]


def test_the_loss_by_hand(my_towers: Any) -> None:
    drawn = make_negatives("newest").draw(
        NegativeContext(
            positive_ids=np.array([1, 2]),
            positive_log_q=np.zeros(2),
            live_ids=np.array([1, 2, 3]),
            live_share=np.zeros(3),
        ),
        np.random.default_rng(0),
    )
    user, table = (
        torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 0.0], [2.0, 0.5], [0.25, 1.0], [1.5, 3.0]]),
    )
    ids = torch.from_numpy(drawn.shared_ids)
    contrast = Contrast(
        config=ContrastiveConfig(loss="margin", negatives="newest"),
        user=user,
        item=table[[1, 2]],
        item_ids=torch.tensor([1, 2]),
        shared=table[ids],
        row=torch.zeros(2, 0, 2),
        negatives=drawn,
        weight=torch.tensor([1.0, 3.0]),
        catalogue=lambda: (table, ids),
        num_live=3,
        constant=torch.zeros(2),
        dim=2,
    )
    rows = []
    for row, own in enumerate((1, 2)):
        scores = user[row] @ table.T
        rows.append(np.mean([max(0.0, 1.0 - scores[own] + scores[j]) for j in drawn.shared_ids if j != own]))
    assert my_towers.margin(contrast).item() == pytest.approx((rows[0] + 3 * rows[1]) / 4, rel=1e-5)


def test_an_own_loss_without_log_q_may_use_impressions(my_towers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ContrastiveConfig(loss="margin", negatives="impressed")
    with pytest.raises(ValueError, match="loss_name: got 'margin', needs one of bce, bpr"):
        ContrastiveLearner(settings)
    monkeypatch.setattr(registry, "LOSSES_OF_A_SLATE", {*registry.LOSSES_OF_A_SLATE, "margin"})
    ContrastiveLearner(settings)


def test_a_sampler_with_a_memory_goes_on_with_it(my_towers: Any) -> None:
    class Counting(my_towers.Newest):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.drawn: list[int] = []

        def snapshot(self) -> dict[str, Any]:
            return {"drawn": np.array(self.drawn)}

        def restore(self, state: dict[str, Any]) -> None:
            self.drawn.extend(state["drawn"].tolist())

    made: list[Any] = []
    NEGATIVES["newest"] = lambda: made.append(Counting()) or made[-1]
    first, second = (ContrastiveLearner(ContrastiveConfig(loss="margin", negatives="newest")) for _ in range(2))
    made[0].drawn += [3, 1]
    second.restore(first.snapshot())
    assert made[1].drawn == [3, 1]


def test_a_changed_module_is_a_new_run(my_towers: Any, tmp_path: Path) -> None:
    def digest() -> str:
        return RunConfig(agent="my_towers.MINE", readers=10, days=1.0).code()["my_towers"]

    first = digest()
    assert digest() == first
    (tmp_path / "my_towers.py").write_text(MODULE.replace("1.0 - contrast", "2.0 - contrast"))
    del sys.modules["my_towers"]
    assert digest() != first
    assert CompareConfig(agents=("my_towers.MINE",), readers=10).runs()[0].settings()["code"]["my_towers"] == digest()
