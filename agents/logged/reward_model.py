"""A model of what positions pay, for the direct method and doubly robust estimates (docs/mathematics.md 5.2).

    r_k ~ offset_k + slope_k g(x, a)

g is a regression of two towers, learned from a log's first days and then frozen. Offsets and slopes are least squares
of what was logged on what g foretold of it *before* it had seen the tick: they shrink what is overconfident, and know
the positions, the weights of a reward's parts, and subscriptions. Where a policy is learned from the same days, the
articles that look best by chance look so to both: the direct method is optimistic, and says so.
Shapes: n visits, N live articles, M shortlist, K positions, D draws.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from feedgym.agents.learners import LARGEST_LOG, Foretelling, Logarithmic
from feedgym.agents.logged.learning import Progress, learn_from_log
from feedgym.agents.logged.site import LoggedSite
from feedgym.agents.ope import ModelValues, mixed_expectation
from feedgym.agents.slate_policy import Draw, columns_in_shortlist, draw_slates, kept_share, softmax_of
from feedgym.agents.two_tower import TwoTowerAgent
from feedgym.env.arrays import Bools, Doubles, Ints, taken_at
from feedgym.env.checks import require
from feedgym.env.feed import Visits

DRAWS = 8
"""Slates of the target that stand for what its later positions pay, a visit."""


@dataclass
class PositionSums:
    """Least squares of rewards on what was foretold, a line for each position: sums that ticks are added to."""

    slate_size: int
    sums: Doubles = field(init=False)
    """float64 (5, K): rows, and sums of g, r, g^2, g r."""

    def __post_init__(self) -> None:
        self.sums = np.zeros((5, self.slate_size))

    def add(self, foretold: Doubles, reward: Doubles) -> None:
        """Take in slates: g and r, float64 (n, K); NaN in g where nothing was shown or foretold."""
        known = ~np.isnan(foretold)
        g, r = np.where(known, foretold, 0.0), np.where(known, reward, 0.0)
        self.sums += np.stack(
            [known.sum(axis=0), g.sum(axis=0), r.sum(axis=0), (g * g).sum(axis=0), (g * r).sum(axis=0)]
        )

    def lines(self) -> tuple[Doubles, Doubles]:
        """Offsets and slopes, float64 (K,) each; slopes >= 0, and 0 where g does not vary."""
        rows, g, r, gg, gr = self.sums
        n = np.maximum(rows, 1.0)
        spread, common = gg / n - (g / n) ** 2, gr / n - g * r / n**2
        slope: Doubles = np.zeros(self.slate_size)
        # A falling line would turn the regression's order upside down: noise.
        np.divide(common, spread, out=slope, where=(spread > 1e-12) & (common > 0))
        offset: Doubles = r / n - slope * g / n
        return offset, slope


@dataclass(frozen=True)
class RewardModel:
    """What each position pays, by article: ``offset + slope g``."""

    agent: TwoTowerAgent
    """The regression g, as it was trained."""
    offset: Doubles
    """float64 (K,)."""
    slope: Doubles
    """float64 (K,)."""


def fit_reward_model(
    agent: TwoTowerAgent, site: LoggedSite, report: Progress | None = None, *, until_hours: float
) -> RewardModel:
    """Learn what positions pay from the visits of a log before ``until_hours``.

    Args:
        agent: new, made for this site: a regression with a loss of single impressions.
        site: the log, at its first tick.
        report: told of every day.
        until_hours: visits from here on are not looked at: they are what is estimated on.

    Raises:
        ValueError: an agent whose scores are no predictions; whatever is wrong in the log; too few days to train on.
    """
    check_predicts(agent)
    seen = PositionSums(site.config.slate_size)

    def watch(site: LoggedSite) -> None:
        if agent.policy_version and len(site.visits):
            seen.add(_of_slates(agent, site), slot_rewards(site))

    learn_from_log(agent, site, report, until_hours=until_hours, watch=watch)
    hours = agent.config.serving.clocks.train_every_hours
    known = bool((seen.sums[0] > 0).all())
    allowed = f"visits at every position after its first training, at {hours:g} h: more days, or train_every_hours"
    require(known, "reward_model", f"a log of {until_hours:g} h to learn from", allowed)
    return RewardModel(agent, *seen.lines())


def check_predicts(agent: TwoTowerAgent) -> None:
    """Refuse an agent whose scores do not predict what an impression brings."""
    _ = foretold_by(agent)


def foretold_by(agent: TwoTowerAgent) -> str:
    """What an agent's scores predict of an impression: ``click`` or ``dwell``.

    Raises:
        ValueError: neither.
    """
    learner = agent.learner
    what = learner.foretells if isinstance(learner, Foretelling) and not agent.second_stage else None
    allowed = "regression-dwell or regression-click: one stage, one target, a loss of single impressions"
    require(what is not None, "reward_model", type(learner).__name__, allowed)
    require(what in ("dwell", "click"), "target of reward_model", what, "'dwell' or 'click'")
    return str(what)


def slot_rewards(site: LoggedSite) -> Doubles:
    """What each position of this tick's slates paid, float64 (n, K); the last one with the visit's subscription."""
    reward = site.slot_reward.astype(np.float64)
    reward[:, -1] += site.config.reward.subscription * site.outcome.subscribed
    return reward


@torch.no_grad()
def predictions(agent: TwoTowerAgent, visits: Visits, live: Ints) -> Doubles:
    """G of live articles (N,) for these visits, after ``act``: minutes, or chances of a click; float64 (n, N)."""
    model = agent.model
    user = agent.drawer.embed(agent.serving.requests(visits))
    users = model.augment_users(user, visits.now, agent.store.t_ref).numpy()
    constant = model.constant(user, visits.now, agent.store.t_ref).double().numpy()
    score: Doubles = np.einsum("ne,me->nm", users, agent.store.augmented[live]).astype(np.float64) + constant[:, None]
    if isinstance(agent.learner, Logarithmic) and agent.learner.logarithmic:
        return np.exp(np.minimum(score, LARGEST_LOG))
    return 1.0 / (1.0 + np.exp(-np.clip(score, -500, 500))) if foretold_by(agent) == "click" else score


def _of_slates(agent: TwoTowerAgent, site: LoggedSite) -> Doubles:
    """G of what was logged, float64 (n, K); NaN where nothing was shown, or an article that is gone by this tick."""
    shown, live = site.logged.article_id, np.sort(site.catalogue.article_id)
    g = predictions(agent, site.visits, live)
    return np.where(_is_live(shown, live), np.take_along_axis(g, _column(shown, live), axis=1), np.nan)


def _column(ids: Ints, live: Ints) -> Ints:
    """Columns of articles (any shape) among the live ones (N,), which rise; any column where an id is not there."""
    found: Ints = np.minimum(np.searchsorted(live, ids), max(len(live) - 1, 0))
    return found


def _is_live(ids: Ints, live: Ints) -> Bools:
    there: Bools = live[_column(ids, live)] == ids
    return there


def model_values(
    model: RewardModel,
    g: Doubles,
    live: Ints,
    article_id: Ints,
    draw: Draw,
    rng: np.random.Generator,
    draws: int = DRAWS,
) -> ModelValues:
    """The model's values of one tick's logged slates, and of what a target would serve instead.

    ``Q_k(a)`` is what the model gives a at k, plus the mean of what it gives the target's own later positions: those
    of ``draws`` slates from the same moment, whatever stands above. So a logged slate and its expectation share the
    later part, and the cascade's doubly robust estimate stays unbiased.

    Args:
        model: of rewards.
        g: its regression's predictions, float64 (n, N).
        live: live articles, rising, (N,).
        article_id: logged slates, all of live articles or -1, (n, K).
        draw: what the target would have drawn the same visits' slates from.
        rng: of the draws.
        draws: D.
    """
    n, size = article_id.shape
    shortlist, epsilon = draw.shortlist, np.broadcast_to(draw.epsilon, n)
    listed, shown, p = shortlist >= 0, article_id >= 0, np.exp(softmax_of(draw).log_p)
    of_listed = np.take_along_axis(g, _column(shortlist, live), axis=1)
    by_softmax, explored = np.einsum("nm,nm->n", p, np.where(listed, of_listed, 0.0)), g.mean(axis=1)
    mean = epsilon * explored + (1.0 - epsilon) * by_softmax
    # The shown articles: g, and how likely each kind of visit draws them.
    own = np.where(shown, np.take_along_axis(g, _column(article_id, live), axis=1), 0.0)
    here = mixed_expectation(
        kept_share(article_id, draw),
        np.broadcast_to(by_softmax[:, None], own.shape),
        taken_at(p, columns_in_shortlist(article_id, shortlist), 0.0),
        np.broadcast_to(explored[:, None], own.shape),
        np.where(shown, 1.0 / len(live), 0.0),
        np.broadcast_to(own[:, None, :], (n, size, size)),
    )
    expected = _slot_means(model, g, live, draw, rng, draws)
    expected[:, 0] = model.offset[0] + model.slope[0] * mean
    later = np.cumsum(expected[:, ::-1], axis=1)[:, ::-1] - expected
    slot_q = np.where(shown, model.offset + model.slope * own, 0.0)
    return ModelValues(
        q=np.where(shown, slot_q + later, 0.0),
        q_pi=np.where(shown, model.offset + model.slope * here + later, 0.0),
        slot_q=slot_q,
        slot_q_pi=np.where(shown, expected, 0.0),
    )


def _slot_means(
    model: RewardModel, g: Doubles, live: Ints, draw: Draw, rng: np.random.Generator, draws: int
) -> Doubles:
    """What the target's slots pay by the model, float64 (n, K): a mean over drawn slates."""
    rows = np.repeat(np.arange(len(g)), draws)
    slates = draw_slates(rng, draw.rows(rows), live).article_id
    paid = np.where(
        slates >= 0, model.offset + model.slope * np.take_along_axis(g[rows], _column(slates, live), axis=1), 0.0
    )
    means: Doubles = paid.reshape(len(g), draws, -1).mean(axis=1)
    return means
