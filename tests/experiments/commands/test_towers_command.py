"""``feedgym towers``: every part is counted, the price of ids is that of real tables, and mistakes are explained."""

import re
import subprocess
import sys
from typing import Any

import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.registry import KINDS
from feedgym.experiments.commands import towers
from feedgym.experiments.commands.towers import TowersCommandConfig, id_costs, model_of, parts_of, towers_text


def counted(text: str) -> tuple[dict[str, int], int]:
    """Parts and total that the text shows."""
    table = text.split("layers (in > out)")[1].split("\n\n")[0]
    rows = re.findall(r"^(\S+) +([\d,]+)(?:  .*)?$", table, flags=re.MULTILINE)
    parts = {name: int(number.replace(",", "")) for name, number in rows}
    return parts, parts.pop("total")


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.learns])
def test_all_parameters_of_every_agent_are_in_some_part(name: str) -> None:
    config = TowersCommandConfig(agent=name)
    model = model_of(config.plan(), config.feed())
    parts, total = counted(towers_text(config))
    assert total == sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert parts == {part: count for part, count, _ in parts_of(model)}


def test_sizes_are_those_of_the_layers_and_tables() -> None:
    config = TowersCommandConfig(
        agent="contrastive:widths=(48,24),dim=6,author_buckets=32,share=embeddings,residual=True"
    )
    model: Any = model_of(config.plan(), config.feed())
    sizes = {name: words for name, _, words in parts_of(model)}
    c = model.config
    topic, publisher, _ = config.feed().catalogue.category_sizes
    assert sizes["item_features"] == f"{topic} x 8, {publisher} x 8, 32 x 8"
    assert sizes["item_tower"] == f"{c.item.out_dim} > 48 > 24 > 7"
    assert sizes["user_tower"] == f"{6 + c.reader_numeric + 3 * 8} > 48 > 24 > 7"
    assert sizes["history_tower"] == f"{c.item.out_dim} > 6"


@pytest.mark.parametrize("agent", ["uber-shared", "nrms", "ltv"])
def test_ids_cost_what_models_with_these_tables_have(agent: str) -> None:
    """The counts of 1,000,000 ids are computed; those of 700 are checked against models that have them."""
    feed = TowersCommandConfig(agent=agent).feed()
    plan, models = make_agent(agent), 2 if agent == "ltv" else 1
    costs = {cost.share: cost for cost in id_costs(plan, feed, 700)}
    # Authors, and articles with bags, have five uses each; readers have one.
    kinds = ("author", "article", "reader") if agent == "uber-shared" else ("author",)
    uses = 11 if agent == "uber-shared" else 5 * models
    expected = {"none": uses, "embeddings": len(kinds) * models, "item_encoder": len(kinds) * models}
    expected |= {"one table": 1} if agent == "uber-shared" else {}
    assert {share: cost.tables for share, cost in costs.items()} == expected
    for share, cost in costs.items():
        way: dict[str, Any] = {} if share == "one table" else {"share": share}
        way |= {"one_table": False} if agent == "uber-shared" and way else {}
        settings = {**dict(plan.settings), **{f"{kind}_buckets": 700 for kind in kinds}, **way}
        settings |= {"history_gradient": False} if share != "item_encoder" else {}
        parameters = list(model_of(make_agent(agent, **settings), feed).parameters())
        assert cost.total == sum(p.numel() for p in parameters)
        assert cost.id_parameters == sum(p.numel() for p in parameters if p.shape[:1] == (700,)) == cost.tables * 5600


def test_a_million_shared_ids_are_a_fifth_and_no_table_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    draw = torch.randn

    def randn(*size: Any, **options: Any) -> torch.Tensor:
        nonlocal largest
        drawn = draw(*size, **options)
        largest = max(largest, drawn.numel())
        return drawn

    monkeypatch.setattr(torch, "randn", randn)
    text = towers_text(TowersCommandConfig(agent="contrastive:author_dim=64", ids=1_000_000))
    assert 0 < largest < 100_000
    rows = {row[0]: row[1:] for row in re.findall(r"^(\w+) +(\d) +([\d,]+) +[\d,]+ +([\d.]+) +([\d.]+)$", text, re.M)}
    assert rows["none"] == ("5", "320,000,000", "1280.1", "1.00")
    assert rows["embeddings"] == ("1", "64,000,000", "256.1", "5.00")
    assert "not verified" in " ".join(text.split())


def test_what_is_shared_and_how_many_stages() -> None:
    def said(agent: str) -> str:
        return towers_text(TowersCommandConfig(agent=agent))

    assert "shared        nothing" in said("recruit-ann")
    assert "the item tower: what was clicked is its vector of the article, and learns through it" in said("nrms")
    assert "does not learn through it" in said("contrastive")
    assert "prediction    dot; logistic reranks the shortlist" in said("youtube-rerank")
    assert "prediction    dot; gbdt reranks the shortlist" in said("regression-dwell:ranker=gbdt")
    told = "told of what the reader has been shown, reranks the shortlist"
    assert f"prediction    dot; mlp, {told}" in said("contrastive:prediction=mlp,crosses=all")
    assert f"prediction    cosine; a weighted sum, {told}" in said("linear:crosses=all,prediction=cosine")
    assert "prediction    dot; one stage" in said("linear")
    assert "for each of two models" in said("ltv")
    assert "for each of two models" not in said("contrastive:dim=1")
    assert "bert4rec of the last" in said("bert4rec")
    assert "--ids 1000000" in said("contrastive")
    assert "1,024 hashed ids of each kind: author (8 numbers each)" in said("uber-shared")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["random"], "agent: got 'random', needs an agent with towers"),
        (["popular", "--ids", "5"], "needs an agent with towers"),
        (["regression-click:encoder=lstm"], "encoder: got 'lstm', needs one of mean"),
    ],
)
def test_mistakes_are_explained(words: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as error:
        towers.main(words)
    assert message in str(error.value.code)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["contrastive", "--ids", "0"], "ids: got 0, needs >= 1"),
        (["nobody"], "agent: got 'nobody'"),
        (["contrastive", "--world", "flat"], "world: got 'flat'"),
    ],
)
def test_bad_settings_end_with_the_reason(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        towers.main(words)
    said = str(error.value.code) + " ".join(re.sub("[│╭╮╰╯─]", " ", "".join(capsys.readouterr())).split())
    assert message in said


def test_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    towers.main(["sasrec", "--world", "measured"])
    assert capsys.readouterr().out.startswith("sasrec: causal transformer")


def test_its_help_loads_nothing_heavy() -> None:
    code = "import sys, feedgym.experiments.commands.towers; print([m for m in ('torch', 'faiss') if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"
