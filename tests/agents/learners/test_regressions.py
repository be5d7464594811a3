"""The table of regression losses: what each entry computes, what it fits, and that one line adds another."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from feedgym.agents import make_agent, parse_agent
from feedgym.agents.learners import RegressionConfig
from feedgym.agents.learners.regressions import REGRESSIONS, Impressions, Regression
from feedgym.agents.learners.tasks import TASKS, Task
from feedgym.env import Feed, FeedConfig
from feedgym.experiments.commands.agents import settings_text
from helpers.inside import learner_of
from helpers.towers import minimise

SCORE = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0]])
MINUTES = torch.tensor([[0.5, 4.0, 0.0], [0.0, 0.0, 9.0]])
SHOWN = torch.tensor([[True, True, True], [True, True, False]])
THETA = torch.tensor([1.0, 0.8, 0.5])
WORTH = torch.tensor([[0.3, 1.2, 0.0], [-0.4, 0.0, 9.0]])
EFFECT = torch.tensor([0.0, -0.3, -0.8])


def impressions(task: Task, *, positions: bool = False, rate: float = 1.0) -> Impressions:
    return Impressions(
        task=task,
        score=SCORE,
        target=MINUTES if task == "dwell" else (MINUTES > 0).float(),
        shown=SHOWN,
        log_examination=THETA.log() if positions else None,
        negative_keep_rate=rate,
        ips_clip=1.5,
        clicked=MINUTES > 0,
        worth=WORTH,
    )


def rows(task: Task) -> list[tuple[float, float, float]]:
    """Score, target and examination of what was shown, in plain numbers."""
    target = impressions(task).target
    return [
        (SCORE[b, k].item(), target[b, k].item(), THETA[k].item()) for b in range(2) for k in range(3) if SHOWN[b, k]
    ]


def value_of(name: str, given: Impressions) -> float:
    loss = REGRESSIONS[name].loss(given)
    assert loss is not None
    return loss.item()


def bce(score: float, target: float) -> float:
    chance = 1 / (1 + math.exp(-score))
    return -target * math.log(chance) - (1 - target) * math.log(1 - chance)


def huber(error: float) -> float:
    return error**2 / 2 if abs(error) < 1 else abs(error) - 0.5


def test_values_against_plain_numbers() -> None:
    dwell, click = rows("dwell"), rows("click")
    plain = sum((s - t) ** 2 for s, t, _ in dwell) / 5
    assert value_of("pointwise", impressions("dwell")) == pytest.approx(plain)
    examined = sum((s * theta - t) ** 2 for s, t, theta in dwell) / 5
    assert value_of("pointwise", impressions("dwell", positions=True)) == pytest.approx(examined)
    assert value_of("pointwise", impressions("click")) == pytest.approx(sum(bce(s, t) for s, t, _ in click) / 5)
    robust = sum(huber(s - t) for s, t, _ in dwell) / 5
    assert value_of("huber", impressions("dwell")) == pytest.approx(robust)
    robust = sum(huber(s * theta - t) for s, t, theta in dwell) / 5
    assert value_of("huber", impressions("dwell", positions=True)) == pytest.approx(robust)
    # Without chances of being seen, which a stage that knows the position does not need, nothing is weighed.
    assert value_of("ips", impressions("click")) == value_of("pointwise", impressions("click"))
    assert value_of("ips", impressions("click", positions=True)) != value_of("ips", impressions("click"))


def test_losses_in_the_logarithm_against_plain_numbers() -> None:
    """Of minutes, of clicks, and of clicks less the worth of what was opened; positions are taken off once."""

    def plain(task: Task, *, worth: bool = False, at: torch.Tensor | None = None) -> float:
        """Mean of ``exp(s) - y s`` over what was shown."""
        target, total = impressions(task).target, 0.0
        for b in range(2):
            for k in range(3):
                if not SHOWN[b, k]:
                    continue
                s = SCORE[b, k].item() - (WORTH[b, k].item() if worth else 0.0)
                s += 0.0 if at is None else at[k].item()
                total += math.exp(s) - (float(MINUTES[b, k] > 0) if worth else target[b, k].item()) * s
        return total / 5

    for task in ("dwell", "click"):
        given = impressions(task)
        assert value_of("poisson", given) == pytest.approx(plain(task))
        effect = replace(given, effect=EFFECT)
        assert value_of("poisson", effect) == pytest.approx(plain(task, at=EFFECT))
        # What positions are known to do is taken off, and not what was found of them as well.
        known = impressions(task, positions=True)
        assert value_of("poisson", known) == pytest.approx(plain(task, at=THETA.log()))
        assert value_of("poisson", replace(known, effect=EFFECT)) == value_of("poisson", known)
    assert value_of("hurdle", impressions("dwell")) == pytest.approx(plain("dwell", worth=True))
    found = replace(impressions("dwell"), effect=EFFECT)
    assert value_of("hurdle", found) == pytest.approx(plain("dwell", worth=True, at=EFFECT))
    # A wild score where nothing was shown is no infinity.
    wild = replace(impressions("dwell"), score=torch.where(SHOWN, SCORE, 500.0))
    assert value_of("poisson", wild) == value_of("poisson", impressions("dwell"))


def test_their_optimum_is_the_logarithm_of_the_mean() -> None:
    """One number for all: minutes, or chances of opening times worth. Squared error has the mean itself."""
    shown = torch.ones(400, 3, dtype=torch.bool)
    minutes = torch.rand(400, 3, generator=torch.Generator().manual_seed(1)) * 8 - 5
    given = replace(
        impressions("dwell"),
        target=minutes.clamp(min=0),
        clicked=minutes > 0,
        shown=shown,
        worth=torch.full((400, 3), 0.7),
    )

    def best(name: str) -> float:
        loss = REGRESSIONS[name].loss
        number = minimise(lambda s: loss(replace(given, score=s.expand(400, 3))), (1,))  # type: ignore[arg-type, return-value]
        return float(number)

    assert best("poisson") == pytest.approx(math.log(given.target.mean()), abs=1e-5)
    assert best("hurdle") == pytest.approx(math.log((minutes > 0).float().mean()) + 0.7, abs=1e-5)
    assert best("pointwise") == pytest.approx(float(given.target.mean()), abs=1e-5)


def test_one_great_read_pulls_less_with_huber() -> None:
    def pull(name: str) -> float:
        score = SCORE.clone().requires_grad_()
        given = impressions("dwell")
        loss = REGRESSIONS[name].loss(Impressions(**{**vars(given), "score": score}))
        assert loss is not None
        loss.backward()
        assert score.grad is not None
        return (score.grad[0, 1] / score.grad[0, 0]).item()  # an error of 3 minutes beside one of half a minute

    assert pull("pointwise") == pytest.approx(6.0)
    assert pull("huber") == pytest.approx(2.0)


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("task", TASKS)
def test_a_loss_trains_what_it_fits_and_refuses_the_rest(name: str, task: Task) -> None:
    entry = REGRESSIONS[name]
    more: dict[str, Any] = {"examination": 0.8} if entry.examination else {}
    if task in entry.tasks:
        config = RegressionConfig(target=task, loss=name, **more)
        assert math.isfinite(value_of(config.loss, impressions(task, positions=entry.examination is True)))
    else:
        with pytest.raises(ValueError, match=f"target: got '{task}', needs .* with loss={name}, not {task}"):
            RegressionConfig(target=task, loss=name, **more)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("regression-click:loss=huber", "target: got 'click', needs dwell with loss=huber, not click"),
        ("regression:loss=huber,target=click+0.5*dwell", "needs dwell with loss=huber, not click"),
        ("regression:loss=ips,examination=.5,target=click+dwell", "with loss=ips, not dwell"),
        ("regression:loss=slate_bpr,examination=.5", "examination: got 0.5, needs None with loss=slate_bpr"),
        ("regression-click:loss=ips", "examination: got None, needs a chance, or 'learned', with loss=ips"),
        ("regression:loss=huber,negative_keep_rate=.5", "negative_keep_rate: got 0.5, needs 1, but with a loss that"),
        ("regression-click:loss=ips,examination=.5,negative_keep_rate=.5", "of clicks, loss=pointwise"),
        (
            "regression-click:loss=mae",
            "loss: got 'mae', needs one of pointwise, ips, poisson, hurdle, slate_",
        ),
        ("direct:loss=huber", "loss: got 'huber', needs a loss of single impressions"),
    ],
)
def test_a_loss_where_it_does_not_fit_is_refused_where_it_is_named(settings: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_agent(settings)


def test_one_line_adds_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def absolute(i: Impressions) -> torch.Tensor:
        calls.append(i.task)
        return ((i.score - i.target).abs() * i.shown).sum() / i.shown.sum()

    monkeypatch.setitem(REGRESSIONS, "absolute", Regression(absolute, tasks=("dwell",)))
    assert "One of pointwise, ips, poisson, hurdle, slate_softmax, slate_bpr, huber, absolute" in " ".join(
        settings_text("regression").split()
    )
    with pytest.raises(ValueError, match="needs dwell with loss=absolute"):
        make_agent("regression-click", loss="absolute")
    feed = Feed(FeedConfig(num_readers=60, days=0.5, tick_hours=1.0), seed=3)
    agent = make_agent("regression-dwell", loss="absolute", max_steps=4).start(feed)
    while not feed.done:
        agent.learn(feed.serve(agent.act(feed.visits, feed.catalogue).article_id))
    assert set(calls) == {"dwell"}
    assert math.isfinite(agent.metrics()["loss"])
    learner: Any = learner_of(agent)
    assert learner.click_examination(5) is None


def test_what_only_orders_predicts_no_clicks() -> None:
    for name, entry in REGRESSIONS.items():
        if "click" not in entry.tasks:
            continue
        more: dict[str, Any] = {"examination": 0.8} if entry.examination else {}
        agent: Any = make_agent("regression-click", loss=name, **more).start(Feed(FeedConfig(num_readers=5, days=0.5)))
        chances = entry.predicts and not learner_of(agent).logarithmic
        assert (learner_of(agent).click_examination(3) is not None) == chances
