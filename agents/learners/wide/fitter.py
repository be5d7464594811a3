"""The wide part's weights, from all impressions that the replay keeps (docs/mathematics.md 6.11).

Shapes: n visits in the replay, K positions, R impressions, U articles, A columns, X crosses.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feedgym.agents.learners.learning import EmbeddedSlates, Learning
from feedgym.agents.learners.wide.evidence import Evidence
from feedgym.agents.learners.wide.newton import Fit, Link, Rows, fit_rows
from feedgym.agents.learners.wide.trust import Trust
from feedgym.agents.serving import ItemStore
from feedgym.env.arrays import AnyArray, Arrays, Bools, Doubles, Floats, Ints, nest, unnest
from feedgym.towers.interface import Towers
from feedgym.towers.summed_towers import SummedTowers
from feedgym.towers.two_tower import TwoTower

LEAST_MINUTES = 0.05
"""Share of the mean minutes of an opened article that any is worth: less would bury it in the logarithm for good."""
FADING = (0.0, 1.0, 0.0)
"""Weights of the age columns until somebody has opened something: newest first, as far as sharpness goes. Random slates
would teach a little more of old articles, and cost the first day."""
_VISITS = 2_048
"""New visits that the towers are judged by in a training, the latest."""


@dataclass(frozen=True)
class _Seen:
    """All that the replay's visits showed, once for all fits of a training."""

    slot: Ints
    """Of the replay, (R,)."""
    position: Ints
    """(R,)"""
    article: Ints
    """Which of the U articles, (R,)."""
    article_id: Ints
    """(U,), rising."""
    z: Doubles
    """(U, A)"""
    own: Doubles
    """Age columns, two of the content channel's where there is one, then crosses: (E [+ 2] + X, R)."""


class _ById:
    """A number of each of some articles, looked up by id.

    Args:
        article_id: (U,), rising.
        value: (U,).
    """

    def __init__(self, article_id: Ints, value: Floats) -> None:
        self.article_id = article_id
        # One for each id, since every step asks; last a 0, for -1 and for what is beyond.
        self._table: Floats = np.zeros(int(article_id[-1]) + 2, dtype=np.float32)
        self._table[article_id] = value

    def of(self, article_id: Ints) -> Floats:
        """Of articles, any shape; 0 of those that are not among them, such as -1."""
        value: Floats = self._table[np.minimum(article_id, len(self._table) - 1)]
        return value

    def snapshot(self) -> Arrays:
        """Ids and numbers."""
        return {"id": self.article_id.copy(), "value": self.of(self.article_id)}


class WideFitter:
    """Fits a model's wide part at each training, warm from the last fit, and says what its towers may count.

    With a content channel its two scales are two more weights of the same fit.

    Args:
        link: of the mean to the score.
        number: which of the models of ``learning.model.models``.
        hurdle: what is fitted is whether an impression was opened, and beside it the minutes once it was.
        effects: articles may differ from what their columns say. Else what is shown for long, being good, passes for
            what is old.
        num_crosses: X, further columns of each impression, which are in the replay: the sum that they add is beside
            the model's score, since no index can search by it.
    """

    def __init__(
        self, link: Link, number: int = 0, *, hurdle: bool = False, effects: bool = True, num_crosses: int = 0
    ) -> None:
        self._num_crosses = num_crosses
        self._link, self._number, self._hurdle, self._effects = link, number, hurdle, effects
        self._evidence, self._trust = Evidence(), Trust()
        self._fits: dict[str, Fit] = {}
        self._worth: _ById | None = None
        self._known = 0
        self.effect: Floats | None = None
        """What each position adds to a score, float32 (K,): 0 on top."""
        self.crosses: Floats | None = None
        """What each cross adds to a score, float32 (X,); None before the first fit, and where there are none."""
        self.share: float | None = None
        """What the towers may count since the latest fit, in [0, 1]; None before the first."""

    def freeze(self, model: TwoTower) -> None:
        """Take the wide part, and a content channel's scales, from the optimiser; the towers count for nothing yet.

        Nothing is known but that news fades.
        """
        assert model.wide is not None
        for part in (*model.wides, *model.channels):
            part.requires_grad_(False)
        model.wide.trust.zero_()
        with torch.no_grad():
            model.wide.age.copy_(torch.tensor(FADING))

    @staticmethod
    def release(model: Towers) -> None:
        """Give the optimiser back what :meth:`freeze` took: nothing is fitted any more, the towers count in full."""
        for part in (*model.wides, *model.channels):
            part.requires_grad_(True)
        with torch.no_grad():
            for wide in model.wides:
                wide.trust.fill_(1.0)
                wide.age.zero_()  # what no fit replaces would stay in all that is learned by small steps

    @torch.no_grad()
    def fit(
        self, learning: Learning[Towers], value: AnyArray, *, average_position: bool, later: Doubles | None = None
    ) -> None:
        """Fit the wide part on all visits kept: what the towers are then trained on is what it leaves.

        Args:
            learning: towers, store, replay.
            value: what each impression came to, (n, K): minutes where ``hurdle``.
            average_position: scores are meant for no position in particular, since the loss knows of none.
            later: of ``hurdle``, minutes that an opening is worth beyond its own: a constant, and weights of an
                article's columns, (1 + A,).
        """
        model, replay = learning.model.models[self._number], learning.replay
        assert isinstance(model, TwoTower)
        assert model.wide is not None
        seen = self._look(learning, model)
        if seen is None:
            return
        clicked: Bools = replay.column("clicks")
        target = (clicked if self._hurdle else value).astype(np.float64)
        self._judge(learning, model, target, average_position=average_position)
        if not clicked.any():
            return  # all weights 0 would say that nothing fades
        fit = self._set(model, seen, target[seen.slot, seen.position])
        place = np.minimum(np.arange(clicked.shape[1]), len(fit.position) - 1)
        self.effect = fit.position[place].astype(np.float32)
        if average_position:
            model.wide.level.add_(float(fit.position[seen.position].mean()))
        self.share = self._trust.share(self._link)
        model.wide.trust.fill_(self.share)
        own = fit.effect.astype(np.float32)
        if self._hurdle:
            if later is not None:
                model.wide.worth_more.copy_(torch.from_numpy(later))
            opened = clicked[seen.slot, seen.position]
            minutes = value[seen.slot, seen.position][opened].astype(np.float64)
            longer = self._fit_minutes(model, seen, opened, minutes)
            standard, categorical = self._features(learning.store, model, seen.article_id)
            worth = model.wide.worth(standard, categorical, torch.from_numpy(longer)).numpy()
            self._worth = _ById(seen.article_id, worth)
            # As of articles that nobody knows, the model says what the columns do: the rest is the article's own.
            own = own + worth - model.wide.worth(standard, categorical).numpy()
        if self._effects:
            learning.store.effect[seen.article_id] = own

    def metrics(self, name: str = "towers/trust") -> dict[str, float]:
        """What the towers may count, once that is known."""
        return {} if self.share is None else {name: self.share}

    def worth(self, article_id: Ints) -> Floats:
        """Log of what articles are worth once opened, any shape: the part of their scores that is not of openings."""
        if self._worth is None:
            return np.zeros(article_id.shape, dtype=np.float32)
        return self._worth.of(article_id)

    def _look(self, learning: Learning[Towers], model: TwoTower) -> _Seen | None:
        """Rows of all fits; None where nothing was shown."""
        replay, store, wide = learning.replay, learning.store, model.wide
        assert wide is not None
        shown = replay.column("article_id")
        slot, position = np.nonzero(shown >= 0)
        if len(slot) == 0:
            return None
        ids = shown[slot, position].astype(np.int64)
        article_id, article = np.unique(ids, return_inverse=True)
        z = wide.columns(*self._features(store, model, article_id)).double().numpy()
        age = replay.column("now")[slot] - store.published_hours[ids]
        own = wide.age_columns(torch.from_numpy(age)).numpy().T
        if model.channel is not None:
            self._evidence.follow(replay, store, model.channel)
            own = np.vstack([own, self._evidence.match(slot, ids, store, model.channel)])
        if self._num_crosses:
            own = np.vstack([own, replay.column("crosses")[slot, position].T])
        return _Seen(slot, position, article, article_id, z, np.ascontiguousarray(own))

    @staticmethod
    def _features(store: ItemStore, model: TwoTower, article_id: Ints) -> tuple[Tensor, Tensor]:
        """Standardised numbers and categories of articles (U,)."""
        numeric, categorical = store.features(article_id)
        return model.normalisations.items(numeric), categorical

    def _judge(self, learning: Learning[Towers], model: TwoTower, target: Doubles, *, average_position: bool) -> None:
        """Foretell what is new in the replay with the model as it still is, with its towers and without."""
        replay, wide = learning.replay, model.wide
        assert wide is not None
        new = min(replay.total - self._known, len(replay), _VISITS)
        self._known = replay.total
        if new <= 0:
            return
        slots: Ints = (replay.total - 1 - np.arange(new)[::-1]) % replay.capacity
        batch = replay.take(slots)
        counted, training = float(wide.trust), model.training
        learning.model.eval()
        scores = []
        for trust in (0.0, 1.0):
            wide.trust.fill_(trust)
            slates = learning.slates(batch)
            if slates is not None:
                scores.append(self._score(learning.model, slates).double().numpy())
        wide.trust.fill_(counted)
        learning.model.train(training)
        if not scores:
            return
        shown: Bools = batch.article_id >= 0
        offset: Doubles = scores[0]
        if self._hurdle:
            offset = offset - self._worth_in(model, learning.store, batch.article_id)
        if self.effect is not None and not average_position:
            offset = offset + self.effect
        if self.crosses is not None and batch.crosses is not None:
            offset = offset + batch.crosses @ self.crosses
        self._trust.add(offset[shown], (scores[1] - scores[0])[shown], target[slots][shown])

    def _worth_in(self, model: TwoTower, store: ItemStore, article_id: Ints) -> Floats:
        """Log of the worth that is in articles' scores, any shape; also of those published since the latest fit."""
        assert model.wide is not None
        ids = np.unique(article_id[article_id >= 0])
        worth: Floats = model.wide.worth(*self._features(store, model, ids)).numpy()
        if self._worth is not None:
            worth = np.where(np.isin(ids, self._worth.article_id), self._worth.of(ids), worth)
        return _ById(ids, worth).of(article_id)

    def _score(self, model: Towers, slates: EmbeddedSlates) -> Tensor:
        if isinstance(model, SummedTowers):
            return model.scores(slates.user, slates.item, slates.bias, slates.age)[self._number]
        return model.score(slates.user, slates.item, slates.bias, slates.age)

    def _set(self, model: TwoTower, seen: _Seen, target: Doubles) -> Fit:
        """Fit, and let the wide part be what is found."""
        assert model.wide is not None
        rows = Rows(
            article=seen.article,
            z=seen.z,
            own=seen.own,
            position=seen.position,
            num_positions=int(seen.position.max()) + 1,
            target=target,
        )
        fit = self._fits["score"] = fit_rows(rows, self._link, self._fits.get("score"), effects=self._effects)
        num_ages = len(model.wide.age)
        model.wide.article.copy_(torch.from_numpy(fit.article))
        model.wide.age.copy_(torch.from_numpy(fit.own[:num_ages]))
        model.wide.level.fill_(fit.level)
        if model.channel is not None:
            model.channel.scale.copy_(torch.from_numpy(fit.own[num_ages : num_ages + 2]))
        if self._num_crosses:
            self.crosses = fit.own[-self._num_crosses :].astype(np.float32)
        return fit

    def _fit_minutes(self, model: TwoTower, seen: _Seen, opened: Bools, minutes: Doubles) -> Floats:
        """Log minutes once opened, of an article's columns alone; what is each article's own beyond them, (U,)."""
        wide = model.wide
        assert wide is not None
        if not minutes.any():
            return np.zeros(len(seen.article_id), dtype=np.float32)
        rows = Rows(
            article=seen.article[opened],
            z=seen.z,
            own=np.zeros((0, len(minutes))),
            position=np.zeros(len(minutes), dtype=np.int64),
            num_positions=1,
            target=minutes,
        )
        fit = self._fits["minutes"] = fit_rows(rows, "log", self._fits.get("minutes"), effects=self._effects)
        wide.worth_log.copy_(torch.from_numpy(np.concatenate([[fit.level], fit.article])))
        wide.worth_floor.fill_(LEAST_MINUTES * float(minutes.mean()))
        return fit.effect.astype(np.float32)

    def snapshot(self) -> Arrays:
        """The latest fits and the rows that towers are judged by; what is summed of the replay can be summed again."""
        arrays: Arrays = {"known": np.asarray(self._known)} | nest("trust", self._trust.snapshot())
        for name, fit in self._fits.items():
            arrays |= nest(
                f"fits/{name}", {key: np.asarray(value).copy() for key, value in vars(fit).items() if key != "effect"}
            )
        if self.effect is not None and self.share is not None:
            arrays |= {"effect": self.effect.copy(), "share": np.asarray(self.share)}
        if self.crosses is not None:
            arrays["crosses"] = self.crosses.copy()
        # What is new is judged by the scores that the latest fit gave.
        return arrays if self._worth is None else arrays | nest("worth", self._worth.snapshot())

    def restore(self, snapshot: Arrays) -> None:
        """Go on from a snapshot."""
        self._known = int(snapshot["known"])
        self._trust.restore(unnest("trust", snapshot))
        fits = unnest("fits", snapshot)
        self._fits = {}
        for name in sorted({key.split("/")[0] for key in fits}):
            part = unnest(name, fits)
            self._fits[name] = Fit(
                float(part["level"]),
                part["article"],
                part["own"],
                part["position"],
                effect=np.zeros(0),
                variance=float(part["variance"]),
            )
        self.effect = snapshot["effect"].copy() if "effect" in snapshot else None
        self.crosses = snapshot["crosses"].copy() if "crosses" in snapshot else None
        self.share = float(snapshot["share"]) if "share" in snapshot else None
        worth = unnest("worth", snapshot)
        self._worth = _ById(worth["id"], worth["value"]) if worth else None
        self._evidence = Evidence()
