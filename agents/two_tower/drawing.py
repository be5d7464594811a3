"""From readers to slates: embed, search, put scores on the scale of logits, draw.

Shapes: n readers, M shortlist, N live articles, K positions, D articles of a list, E columns of v', X columns of the
learner's own, C crosses.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from feedgym.agents.agent import visit_noise
from feedgym.agents.learners import Learning, OwnColumns
from feedgym.agents.serving import Acted, Requests, Serving, embed_readers
from feedgym.agents.slate_policy import PolicyConfig, boosts, eligible, only_eligible, serve
from feedgym.agents.two_tower.second_stage import Asked, PairMemory, Sources, TreeRanker, merged
from feedgym.agents.two_tower.through_link import level_of
from feedgym.env.arrays import Doubles, Floats, Ints, rows_of
from feedgym.env.feed import Catalogue
from feedgym.towers.interface import Towers, UserOutput

_FEWEST = 8
"""Rows that a matrix product of the towers gets, at least. BLAS sums the columns of one to three rows in another order
than those of four and more; with some rows twice, a reader's logits are the same bytes in every batch."""


@dataclass(frozen=True)
class Drawer:
    """What slates are drawn with. It has no state of its own."""

    learning: Learning[Towers]
    """Towers, and the store with its index."""
    columns: OwnColumns | None
    """What goes with v' and u'."""
    raw_logits: bool
    """Logits are the scores over the temperature, not their z-scores."""
    serving: Serving
    """Which vectors of readers are kept, and what all this costs."""
    policy: PolicyConfig
    """How slates are drawn."""
    slate_size: int
    """K"""
    pages: int
    """Slates drawn at once for a reader: 1, or as deep as lists drawn ahead are."""
    seed: int
    """Of the noise that slates are drawn by."""
    pairs: PairMemory | None = None
    """What the second stage is told of readers with articles; None: nothing."""
    cross_weights: Callable[[], Floats | None] = lambda: None
    """What each cross adds to a score, (C,); None: nothing yet, or it is a reranker's to say."""
    trees: TreeRanker | None = None
    """A ranker of trees; None: there is none."""
    sources: Sources | None = None
    """Further sources of candidates; None: the towers alone."""

    @property
    def list_size(self) -> int:
        """D, articles drawn at once: K on each page."""
        return self.pages * self.slate_size

    @property
    def shortlist_size(self) -> int:
        """M: as the policy says, which asks for D or more."""
        return self.policy.shortlist_size

    def draw(self, requests: Requests, catalogue: Catalogue, version: int, *, greedy: bool = False) -> Acted:
        """Slates, or lists of several, from what the index finds for these readers now.

        Args:
            requests: the readers.
            catalogue: what is live.
            version: of the towers.
            greedy: serve the K best, whatever the policy.
        """
        policy = replace(self.policy, greedy=True) if greedy else self.policy
        store = self.learning.store
        n, reader, now = len(requests), requests.reader, requests.now
        kept = eligible(policy, catalogue)
        live = catalogue.article_id if kept is None else catalogue.article_id[kept]
        if n == 0 or len(live) == 0 or len(store.index) == 0:
            shortlist, logits = _newest(live, n, self.shortlist_size)
            if self.sources is not None:
                self.sources.forget()
            users, offset = np.zeros((n, store.augmented.shape[1]), dtype=np.float32), np.zeros(n)
            factor = np.ones(n)
        else:
            user, users = self._embed_users(requests, version)
            factor, mean = self.scale(users)
            self.serving.cost.queries += n
            if self.columns is not None:
                # One inner product for both parts of the logit: the query carries the factor.
                users = _with_own_columns(self.columns, users, factor, reader)
                shortlist, scores = self._find(users, requests, catalogue, live)
                offset = mean * factor
                logits = scores.astype(np.float64) - offset[:, None]
            else:
                shortlist, scores = self._find(users, requests, catalogue, live)
                scores = self._rerank(user, shortlist, scores, requests)
                logits = (scores.astype(np.float64) - mean[:, None]) * factor[:, None]
                users, offset = users * factor[:, None].astype(np.float32), mean * factor
            if kept is not None:
                shortlist, logits = only_eligible(shortlist, logits, live, self.shortlist_size + self._more)
            logits = logits + boosts(policy, catalogue, shortlist)
        self.serving.cost.slates += n
        drawn_from = policy.draw(logits, shortlist, len(live), self.list_size)
        luck = visit_noise(self.seed, requests.reader_id, requests.visit)
        served = serve(luck, policy, drawn_from, live, version, catalogue, pages=self.pages)
        return Acted(
            now=now,
            row=requests.row,
            reader=reader,
            history_id=requests.history_id,
            history_minutes=requests.history_minutes.copy() if self.learning.model.config.needs_minutes else None,
            queries=users,
            offset=offset,
            factor=factor,
            # The catalogue's own array changes with the next tick.
            live=live.copy(),
            served=served,
        )

    @property
    def _more(self) -> int:
        return 0 if self.sources is None else self.sources.columns

    def _find(self, users: Floats, requests: Requests, catalogue: Catalogue, live: Ints) -> tuple[Ints, Floats]:
        """What the index finds for these queries, and what further sources propose beside it, with their scores."""
        store = self.learning.store
        # As many more as are excluded: what is left is what a search among the others would have found.
        size = min(self.shortlist_size + len(catalogue) - len(live), len(catalogue))
        shortlist, scores = store.index.search(users, size)
        if self.sources is None:
            return shortlist, scores
        if len(live) < len(catalogue):
            shortlist, _ = only_eligible(shortlist, scores.astype(np.float64), live, self.shortlist_size)
        findable = live[~np.isin(live, store.held)]
        asked = Asked(
            catalogue=catalogue,
            findable=findable,
            history_id=requests.history_id,
            like=self._like,
            size=self.sources.size,
        )
        shortlist = merged(shortlist, self.sources.propose(requests.row, asked))
        found = np.einsum("ne,nme->nm", users, store.augmented[np.maximum(shortlist, 0)])
        return shortlist, np.where(shortlist >= 0, found, np.float32(0.0))

    def _like(self, article_id: Ints, size: int) -> Ints:
        """Nearest to articles (n,) by the item tower, themselves apart: ids (n, size), -1 pads."""
        model, store = self.learning.model, self.learning.store
        vector = store.augmented[np.maximum(article_id, 0)]
        dim, end = model.config.dim, model.augmented_dim
        # What is of the article itself and does not age: v, and what the content channel matches by.
        like: Floats = np.zeros_like(vector)
        for columns in (slice(0, dim), slice(end - (model.vector_dim - dim), end)):
            like[:, columns] = vector[:, columns]
        found, _ = store.index.search(like, size + 1)
        order = np.argsort(found == article_id[:, None], axis=1, kind="stable")
        nearest: Ints = np.take_along_axis(np.where(found == article_id[:, None], -1, found), order, axis=1)[:, :size]
        return np.where(article_id[:, None] >= 0, nearest, -1)

    def queries(self, requests: Requests) -> Floats:
        """What is searched for, made anew: nothing is kept of it."""
        users = self._augmented(self.embed(requests), requests.now)
        if self.columns is not None:
            factor, _ = self.scale(users)
            users = _with_own_columns(self.columns, users, factor, requests.reader)
        return users

    def scale(self, users: Floats) -> tuple[Doubles, Doubles]:
        """Factor and mean that turn each reader's scores into logits, (n,) each."""
        policy = self.policy
        if self.raw_logits:
            return np.full(len(users), 1.0 / policy.temperature), np.zeros(len(users))
        mean, sd = self.learning.store.scale.mean_and_sd(users)
        return (policy.sharpness / policy.temperature) / sd, mean

    @torch.no_grad()
    def _embed_users(self, requests: Requests, version: int) -> tuple[UserOutput, Floats]:
        """Readers as the towers see them, and u' (n, E)."""
        user = self.serving.vectors(requests, version, self.embed)
        users = self._augmented(user, requests.now)
        return user, users

    @torch.no_grad()
    def _augmented(self, user: UserOutput, now: float) -> Floats:
        users: Floats = self.learning.model.augment_users(user, now, self.learning.store.t_ref).numpy()
        return users

    @torch.no_grad()
    def embed(self, requests: Requests) -> UserOutput:
        """What the user tower says of these readers, the same whoever else is asked about."""
        n = len(requests)
        if n < _FEWEST:
            requests = rows_of(requests, _enough(n))
        learning, now = self.learning, np.full(len(requests), requests.now)
        minutes = requests.history_minutes
        user = embed_readers(learning.model, learning.store, requests.history_id, minutes, requests.reader, now)
        return UserOutput(*(part[:n] for part in user))

    @torch.no_grad()
    def _rerank(self, user: UserOutput, shortlist: Ints, scores: Floats, requests: Requests) -> Floats:
        """The second stage's logits of shortlists (n, M), on the scale of retrieval's; those themselves without one."""
        model, store, now = self.learning.model, self.learning.store, requests.now
        if self.trees is not None:
            ages = self.learning.ages(shortlist, np.full(len(shortlist), now)).numpy()
            told = None if self.pairs is None else self.pairs.of(requests.row, shortlist, now)
            known_scores = np.where(shortlist >= 0, scores + np.float32(level_of(model)), np.float32(0.0))
            known = np.maximum(shortlist, 0)
            vectors = (user.vector.numpy(), store.vector[known]) if self.trees.with_vectors else None
            return scores + self.trees.correction(known_scores, ages, told, vectors)
        if not model.two_stages:
            weights = self.cross_weights()
            if self.pairs is None or weights is None:
                return scores
            return scores + self.pairs.weighed(requests.row, shortlist, now, weights)
        known = np.where(shortlist >= 0, shortlist, 0)
        age = self.learning.ages(shortlist, np.full(len(shortlist), now))
        items = torch.from_numpy(store.vector[known])
        # What retrieval's product leaves out of the score is left out here too: the mean is of such products.
        constant = model.constant(user, now, store.t_ref)[:, None]
        full = torch.from_numpy(np.where(shortlist >= 0, scores, 0.0).astype(np.float32)) + constant
        crosses = None if self.pairs is None else torch.from_numpy(self.pairs.told(requests.row, shortlist, now))
        logits: Floats = (model.rerank(full, user, items, age, crosses=crosses) - constant).numpy()
        return np.where(shortlist >= 0, logits, scores)


def _enough(n: int) -> Ints:
    """Rows 0 to n - 1, and some of them again where they are fewer than ``_FEWEST``; none of none."""
    return np.resize(np.arange(n), max(n, _FEWEST) if n else 0)


@torch.no_grad()
def _with_own_columns(columns: OwnColumns, users: Floats, factor: Doubles, reader: Floats) -> Floats:
    """Queries (n, E + X): u' times the factor (n,), then the learner's own columns of the readers (n, R)."""
    n = len(reader)
    own: Floats = columns.readers(torch.from_numpy(reader[_enough(n)])).numpy()[:n]
    return np.hstack([users * factor[:, None].astype(np.float32), own])


def _newest(live: Ints, n: int, size: int) -> tuple[Ints, Doubles]:
    """Shortlists (n, M) of the newest live articles at equal logits, where no search finds anything."""
    newest = np.sort(live)[::-1][:size]
    if n == 0 or len(newest) == 0:
        return np.full((n, 1), -1, dtype=np.int64), np.zeros((n, 1))
    return np.tile(newest, (n, 1)), np.zeros((n, len(newest)))
