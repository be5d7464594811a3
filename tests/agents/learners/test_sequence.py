"""Training on the clicks of histories: the loss by plain passes, what its targets see, and an order that is learned."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch

from feedgym.agents import make_agent
from feedgym.agents.learners.clicks import sequence
from feedgym.agents.learners.clicks.sequence import sequence_loss
from feedgym.agents.learners.contrastive import ContrastiveLearner
from feedgym.agents.learners.replay import VisitBatch
from feedgym.env import Feed, FeedConfig, NewsReader, NewsReaderConfig, NewsroomConfig
from feedgym.env.readers.protocol import Outcome, SlateView
from helpers.draws import Recorder
from helpers.driving import drive
from helpers.inside import learner_of, learning_of, replay_of
from helpers.plain.foretold import plain_user
from helpers.towers import DEEP_ALONE

NEWSROOM = NewsroomConfig(articles_per_day=60)
SITE = FeedConfig(num_readers=60, days=3.0, slate_size=5, history_length=6, newsroom=NEWSROOM)
SETTINGS: dict[str, dict[str, Any]] = {
    "gru": {"encoder": "gru", "layers": 1},
    "sasrec": {"encoder": "sasrec", "history_columns": True},
    "bert4rec": {"encoder": "bert4rec", "share": "embeddings"},
    "mean": {"encoder": "mean"},
}


@pytest.fixture(scope="module")
def agents() -> dict[str, Any]:
    """Agents after a day and some trainings, with readers who click a lot."""
    made = {}
    for name, settings in SETTINGS.items():
        feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=0.5)), seed=2)
        agent: Any = make_agent(
            "contrastive", epsilon=1.0, max_steps=4, dim=8, widths=(16,), **DEEP_ALONE, **settings
        ).start(feed)
        drive(agent, feed, until=30.0)
        made[name] = agent
    return made


def some_visits(agent: Any, count: int = 40) -> VisitBatch:
    """The latest visits, of readers with full histories, short ones and none."""
    batch: VisitBatch = replay_of(agent).take(np.arange(len(replay_of(agent)) - count, len(replay_of(agent))))
    known = (batch.history_id >= 0).sum(axis=1)
    assert {0, 1, SITE.history_length} <= set(known.tolist())
    return batch


class Targets:
    """Notes which clicks were foretold."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hidden = np.zeros(0, dtype=np.bool_)
        self.row = self.place = np.zeros(0, dtype=np.int64)
        original = sequence._some

        def some(hidden: Any, most: int, rng: Any) -> Any:
            self.hidden = hidden.copy()
            self.row, self.place = original(hidden, most, rng)
            return self.row, self.place

        monkeypatch.setattr(sequence, "_some", some)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("name", ["gru", "sasrec", "bert4rec"])
def test_the_loss_equals_plain_passes_over_what_each_target_may_see(
    agents: dict[str, Any], name: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, noted = agents[name], Targets(monkeypatch)
    batch, rng = some_visits(agent), np.random.default_rng(1)
    frequency = learner_of(agent)._frequency
    loss = sequence_loss(
        learning_of(agent), batch, frequency, rng, num_clicks=25, mask_rate=0.4, temperature=temperature
    )
    assert loss is not None
    row, place = noted.row, noted.place
    assert len(row) == 25
    assert (batch.history_id[row, place] >= 0).all()
    ids = batch.history_id[row, place]
    assert len(np.unique(ids)) < len(ids)  # duplicates are kept
    log_q = frequency.log_q(ids)
    model, store = agent.model, agent.store
    with torch.no_grad():
        features = torch.from_numpy(store.numeric[ids]), torch.from_numpy(store.categorical[ids])
        vector, bias = (x.double().numpy() for x in model.embed_items(*features))
        total = 0.0
        for a in range(len(ids)):
            user = plain_user(agent, batch, int(row[a]), int(place[a]), noted.hidden)[0].double().numpy()
            scores = vector[:, : len(user)] @ user + bias
            columns = [s / temperature - q for s, q in zip(scores, log_q, strict=True)]
            top = max(columns)
            total += top + math.log(sum(math.exp(c - top) for c in columns)) - columns[a]
    assert loss.item() == pytest.approx(total / len(ids), rel=2e-5)


@pytest.mark.parametrize("loss", ["bce", "full_softmax"])
@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_other_losses_equal_plain_passes(
    agents: dict[str, Any], name: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BCE with two drawn articles of each click, softmax over all that is live; absolute scores have a level."""
    agent, noted = agents[name], Targets(monkeypatch)
    batch, rng = some_visits(agent), Recorder(1)
    live = np.arange(0, len(agent.store), 2)
    found = sequence_loss(
        learning_of(agent),
        batch,
        learner_of(agent)._frequency,
        rng,  # type: ignore[arg-type]
        num_clicks=1000,
        mask_rate=0.4,
        temperature=0.5,
        loss=loss,
        row_negatives=2,
        live=lambda: live,
    )
    assert found is not None
    row, place = noted.row, noted.place
    ids, model, store = batch.history_id[row, place], agent.model, agent.store
    everything = np.arange(len(store))
    with torch.no_grad():
        features = torch.from_numpy(store.numeric[everything]), torch.from_numpy(store.categorical[everything])
        vector, bias = (x.double().numpy() for x in model.embed_items(*features))
        total, hits = 0.0, 0
        for a, own in enumerate(ids.tolist()):
            user = plain_user(agent, batch, int(row[a]), int(place[a]), noted.hidden)[0].double().numpy()
            scores = vector[:, : len(user)] @ user + bias
            if loss == "bce":
                absolute = scores + float(model.level)
                total += math.log1p(math.exp(-absolute[own]))
                for drawn in live[rng.drawn[-1][a]].tolist():
                    hits += drawn in batch.history_id[row[a]]
                    if drawn not in batch.history_id[row[a]]:
                        total += math.log1p(math.exp(absolute[drawn]))
            else:
                rivals = sorted({*live.tolist(), *ids.tolist()})
                total += math.log(sum(math.exp(scores[j] / 0.5) for j in rivals)) - scores[own] / 0.5
    assert found.item() == pytest.approx(total / len(ids), rel=2e-5)
    assert (hits > 0) == (loss == "bce")  # some draws hit what the reader has clicked


def test_an_encoder_that_looks_at_fewer_clicks_is_trained_on_as_many() -> None:
    """Histories of six, of which four are looked at: the fifth newest is foretold by nobody, the sixth seen by none."""
    for name in ("sasrec", "bert4rec"):
        feed = Feed(SITE, NewsReader(NewsReaderConfig(base_log_odds=0.5)), seed=2)
        settings: dict[str, Any] = {"history_clicks": 4, "encoder": name, "dim": 8, "widths": (16,), **DEEP_ALONE}
        agent: Any = make_agent("contrastive", epsilon=1.0, max_steps=4, **settings).start(feed)
        drive(agent, feed, until=30.0)
        assert agent.model.config.history_length == 4
        batch = some_visits(agent)

        def loss_of(batch: VisitBatch, agent: Any = agent) -> float:
            rng, learning = np.random.default_rng(1), learning_of(agent)
            frequency = learner_of(agent)._frequency
            found = sequence_loss(learning, batch, frequency, rng, num_clicks=999, mask_rate=0.4)
            assert found is not None
            return found.item()

        before = loss_of(batch)
        full = batch.history_id[:, 5] >= 0
        for place, moves in ((5, False), (3, True)):
            other = dataclasses.replace(batch, history_id=batch.history_id.copy())
            other.history_id[full, place] = 0
            assert (loss_of(other) != before) == moves


@pytest.mark.parametrize("name", ["gru", "sasrec", "bert4rec"])
def test_no_state_has_seen_its_own_target(agents: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of each u by the vector of its own click, and of the newer ones, is 0."""
    agent, noted = agents[name], Targets(monkeypatch)
    batch, model = some_visits(agent), agents[name].model
    seen: dict[str, torch.Tensor] = {}
    original, states = vars(sequence)["click_vectors"], model.users_of_state

    def vectors(*args: Any, **named: Any) -> torch.Tensor:
        seen["clicks"] = original(*args, **named).detach().requires_grad_()
        return seen["clicks"]

    def users(state: torch.Tensor, *rest: Any) -> Any:
        seen["state"] = state
        return states(state, *rest)

    monkeypatch.setattr(sequence, "click_vectors", vectors)
    monkeypatch.setattr(model, "users_of_state", users)
    loss = sequence_loss(
        learning_of(agent),
        batch,
        learner_of(agent)._frequency,
        np.random.default_rng(3),
        num_clicks=1000,
        mask_rate=0.3,
    )
    assert loss is not None
    looked = 0
    for a in range(0, len(noted.row), 3):
        row, place = noted.row[a], noted.place[a]
        (gradient,) = torch.autograd.grad(seen["state"][a].sum(), seen["clicks"], retain_graph=True)
        size = gradient.abs().sum(dim=2)
        assert size[np.arange(len(size)) != row].max() == 0
        unseen = noted.hidden[row].copy()
        if name != "bert4rec":
            unseen = np.arange(len(unseen)) <= place
        assert size[row, unseen].max() == 0
        looked += int((size[row, ~unseen] > 0).any())
    assert looked > 10  # but of the others it has


def test_bert4rec_hides_clicks_at_its_rate(agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    agent, noted = agents["bert4rec"], Targets(monkeypatch)
    batch, rng = some_visits(agent), np.random.default_rng(5)
    known = batch.history_id >= 0
    for rate in (0.2, 0.6):
        hidden = 0
        for _ in range(60):
            sequence_loss(learning_of(agent), batch, learner_of(agent)._frequency, rng, num_clicks=12, mask_rate=rate)
            assert not (noted.hidden & ~known).any()
            assert len(noted.row) == 12
            hidden += int(noted.hidden.sum())
        expected, n = rate * known.sum() * 60, known.sum() * 60
        assert abs(hidden - expected) < 4 * math.sqrt(n * rate * (1 - rate))


@pytest.mark.parametrize("name", ["gru", "sasrec"])
def test_causal_encoders_foretell_every_click_whose_past_is_known(
    agents: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, noted = agents[name], Targets(monkeypatch)
    batch = some_visits(agent)
    sequence_loss(
        learning_of(agent),
        batch,
        learner_of(agent)._frequency,
        np.random.default_rng(0),
        num_clicks=10_000,
        mask_rate=0.2,
    )
    wanted = [
        (r, p)
        for r, history in enumerate(batch.history_id)
        for p, article in enumerate(history)
        # The oldest click of a history that was cut followed something; of a shorter one it is the reader's first.
        if article >= 0 and p < SITE.history_length - 1
    ]
    assert list(zip(noted.row.tolist(), noted.place.tolist(), strict=True)) == wanted
    assert (batch.history_id[:, -1] >= 0).any()


def test_there_is_none_for_an_encoder_that_knows_no_order_and_for_too_few_clicks(agents: dict[str, Any]) -> None:
    for name in ("mean", "gru"):
        agent = agents[name]
        batch = some_visits(agent)
        if name == "gru":
            batch.history_id[:] = -1
            batch.history_id[3, :2] = replay_of(agent).column("history_id").max()
        rng = np.random.default_rng(0)
        frequency = learner_of(agent)._frequency
        assert sequence_loss(learning_of(agent), batch, frequency, rng, num_clicks=20, mask_rate=0.2) is None


def loss_with(agent: Any, weight: float) -> float:
    learner = ContrastiveLearner(dataclasses.replace(learner_of(agent).config, sequence_weight=weight))
    learner.restore(learner_of(agent).snapshot())
    loss = learner.loss(learning_of(agent), np.random.default_rng(4))
    assert loss is not None
    return loss.item()


@pytest.mark.parametrize("name", list(SETTINGS))
def test_the_term_enters_with_its_weight(agents: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, terms = agents[name], list[Any]()
    original = sequence_loss

    def noted(*args: Any, **named: Any) -> Any:
        terms.append(original(*args, **named))
        return terms[-1]

    monkeypatch.setattr("feedgym.agents.learners.contrastive.sequence_loss", noted)
    without = loss_with(agent, 0.0)
    assert terms == []  # not even computed
    losses = [loss_with(agent, weight) for weight in (1.0, 2.5)]
    if name == "mean":
        assert losses == [without, without]
        return
    assert terms[0].item() > 0.1
    assert losses[0] - without == pytest.approx(terms[0].item(), rel=1e-4)
    assert losses[1] - without == pytest.approx(2.5 * terms[0].item(), rel=1e-4)


NUM_TOPICS = 5


class OrderedReader:
    """Wants a topic that follows from the order of her last two: 2 * latest + the one before, modulo the topics."""

    def spawn(self, reader_ids: Any, noise: Any) -> Any:
        uniform = noise.uniform("before", per="reader"), noise.uniform("latest", per="reader")
        return {name: (u * NUM_TOPICS).astype(np.int64) for name, u in zip(("before", "latest"), uniform, strict=True)}

    def first_visit(self, state: Any, rows: Any, noise: Any) -> Any:
        return (noise.uniform("first", per="reader") * 2.0).astype(np.float32)

    def respond(self, state: Any, rows: Any, slate: SlateView, now: float, noise: Any) -> Outcome:
        topic = slate.observable("topic")
        wanted = (2 * state["latest"][rows] + state["before"][rows]) % NUM_TOPICS
        # One visit in ten she opens anything: else few pairs of topics would ever be seen.
        likes = slate.valid & ((topic == wanted[:, None]) | (noise.uniform("whim") < 0.1)[:, None])
        clicks = likes & (np.cumsum(likes, axis=1) == 1)
        clicked = clicks.any(axis=1)
        chosen = topic[np.arange(len(rows)), clicks.argmax(axis=1)]
        moved = rows[clicked]
        state["before"][moved] = state["latest"][moved]
        state["latest"][moved] = chosen[clicked]
        return Outcome(
            clicks=clicks,
            dwell_minutes=clicks.astype(np.float32),
            subscribed=np.zeros(len(rows), dtype=np.bool_),
        )

    def next_visit(self, state: Any, rows: Any, outcome: Outcome, now: float, noise: Any) -> Any:
        return np.full(len(rows), 1.0, dtype=np.float32) + noise.uniform("gap").astype(np.float32)


def ranked(encoder: str, seed: int) -> float:
    """Share of the last day's articles passed over that scored below the one opened on the same slate."""
    newsroom = NewsroomConfig(articles_per_day=60, num_topics=NUM_TOPICS)
    site = FeedConfig(num_readers=150, days=3.0, tick_hours=1.0, slate_size=5, history_length=5, newsroom=newsroom)
    feed = Feed(site, OrderedReader(), seed=seed)
    agent = make_agent(
        "contrastive",
        encoder=encoder,
        epsilon=1.0,
        shortlist_size=10_000,
        age_decay="none",
        train_every_hours=60.0,
        max_steps=150,
        batch_clicks=128,
        sequence_clicks=128,
        layers=1,
        widths=(32,),
        learning_rate=5e-3,
        weight_decay=0.01,
        share="embeddings",
    ).start(feed)
    drive(agent, feed, until=60.0)
    below = total = 0.0
    for served, outcome in drive(agent, feed):
        logit, clicks = served.logit, outcome.clicks
        for row in np.flatnonzero(clicks.any(axis=1)):
            own = logit[row][clicks[row]][0]
            others = logit[row][~clicks[row]]
            below += float((others < own).sum())
            total += len(others)
    return below / total


@pytest.mark.parametrize("seed", [0, 1])
def test_what_follows_from_the_order_of_clicks_is_learned_by_those_who_see_it(seed: int) -> None:
    blind = ranked("mean", seed)
    # Of what is opened without any order, one time in ten, nobody can tell.
    assert ranked("gru", seed) > blind + 0.1
    assert ranked("sasrec", seed) > blind + 0.06
