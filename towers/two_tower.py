"""The two-tower model: articles and readers to vectors whose inner product is the score.

    score = u . v + b_i + b0 + decay_u(age)          retrieval: u' . v' + constant_u(now), equal to it

v' = [v, b, age columns] is written once per article, u' = [u, 1, age columns] once per request; age enters by
``age_decay`` and ``wide_part`` alone, so no article is embedded anew as it ages. A ``content_channel`` adds its columns
at the end of both: an article's vector then is [v, decay parameters, channel], a reader's [u, channel].

Shapes: B readers, N articles, L articles of history, F numeric columns, C categories, d = ``item_dim``.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from feedgym.towers.age_decay import Hours
from feedgym.towers.arrays import Arrays, arrays_of, load_arrays
from feedgym.towers.checks import require, require_shape
from feedgym.towers.columns.content_channel import ContentChannel
from feedgym.towers.columns.reader_features import ReaderFeatures
from feedgym.towers.columns.wide_part import AGE_TAUS_HOURS, WidePart
from feedgym.towers.config import HISTORY_COLUMNS, TwoTowerConfig
from feedgym.towers.decays.protocol import elapsed
from feedgym.towers.encoders import FeedForward
from feedgym.towers.encoders.id_bags import Bags
from feedgym.towers.encoders.of_config import item_outputs, make_encoder, make_item_tower, make_user_tower
from feedgym.towers.features import ItemFeatures, start_outputs
from feedgym.towers.interface import AgelessItems, Normalisations, UserOutput
from feedgym.towers.prediction import PREDICTIONS
from feedgym.towers.rerankers import RERANKERS


class TwoTower(nn.Module):
    """Item tower, user tower and prediction.

    Args:
        config: sizes and parts.
        generator: all initial weights and dropout masks are drawn from it, and from nothing else.
    """

    def __init__(self, config: TwoTowerConfig, generator: torch.Generator) -> None:
        super().__init__()
        c = self.config = config
        self.decay = c.make_decay()
        # Both towers' outputs start small, so that the first scores u . v have a spread of about .25, not 8.
        gain = 0.5 * c.dim**-0.25
        item_start = (*self.decay.initial_item_params, 0.0)
        user_start = self.decay.initial_user_params
        self.channel = ContentChannel(c.item, by_minutes=c.click_minutes) if c.matches_content else None
        self.wide = WidePart(c.item) if c.wide_part else None
        self._channel_dim = 0 if self.channel is None else self.channel.width
        # Where the channel's columns begin, in an article's vector and in a click's: the encoder sees those before.
        self._decay_end = c.dim + len(item_start) - 1
        self._encoded_dim = self._decay_end if c.share == "item_encoder" else c.dim
        self.item_features = ItemFeatures(c.item, generator)
        self.item_tower = make_item_tower(c, c.dim + len(item_start), generator, gain)
        own, apart = c.share == "none", c.share != "item_encoder"
        self.history_features = ItemFeatures(c.item, generator) if own else None
        self.history_tower = FeedForward(c.item.out_dim, (), c.dim, generator, gain) if apart else None
        columns = HISTORY_COLUMNS if c.history_columns else 0
        self.history = make_encoder(c, self._encoded_dim + columns, generator)
        # In units of the initial article vectors: else the history would whisper beside the standardised columns.
        self._history_scale = 1 / gain
        shared = None if c.share == "none" else self.item_features
        self.reader_features = ReaderFeatures(c.reader_numeric, c.reader_id, shared, generator)
        self.id_bags = Bags.of_features(c.id_features, c.item, shared, generator)
        width = self.history.out_dim + self.reader_features.out_dim + (self.id_bags.out_dim if self.id_bags else 0)
        self.user_tower = make_user_tower(c, width, c.dim + len(user_start), generator, gain)
        self.prediction = PREDICTIONS[c.retrieval_prediction]()
        sizes = (c.dim, c.num_positions, generator, *((c.num_crosses,) if c.num_crosses else ()))
        self.reranker = None if c.reranker is None else RERANKERS[c.reranker](*sizes)
        # The towers learn what a wide part leaves: of that they know nothing yet.
        nothing = (0.0,) * c.dim if c.wide_part else ()
        start_outputs(self.item_tower.last, (*nothing, *item_start))
        start_outputs(self.user_tower.last, user_start)
        self.eval()

    @property
    def models(self) -> tuple[nn.Module, ...]:
        """This one."""
        return (self,)

    @property
    def two_stages(self) -> bool:
        """Whether there is a reranker."""
        return self.reranker is not None

    @property
    def channels(self) -> tuple[ContentChannel, ...]:
        """The content channel, if any."""
        return () if self.channel is None else (self.channel,)

    @property
    def wides(self) -> tuple[WidePart, ...]:
        """The wide part, if any."""
        return () if self.wide is None else (self.wide,)

    @property
    def _trust(self) -> Tensor | None:
        """What the towers count; None: in full."""
        return None if self.training or self.wide is None else self.wide.trust

    @property
    def level(self) -> Tensor:
        """What all scores have in common."""
        own: Tensor = self.prediction.global_bias
        own = own if self._trust is None else own * self._trust
        return own if self.wide is None else own + self.wide.level

    @property
    def vector_dim(self) -> int:
        """Width of a reader's vector: ``dim``, then the content channel's columns if any."""
        return self.config.dim + self._channel_dim

    @property
    def item_dim(self) -> int:
        """Width of v: ``dim`` for the inner product, the article's decay parameters, the channel's columns."""
        return self._decay_end + self._channel_dim

    @property
    def history_dim(self) -> int:
        """Width of the vector of a clicked article: that of v where the item encoder is shared."""
        return self._encoded_dim + self._channel_dim

    @property
    def augmented_dim(self) -> int:
        """Width of v' and u'."""
        wide = 0 if self.wide is None else len(AGE_TAUS_HOURS)
        return self.config.dim + 1 + self.decay.num_columns + wide + self._channel_dim

    def fit_items(self, numeric: Tensor) -> None:
        """Normalise article columns by logged rows (N, F)."""
        self.item_features.numeric.fit_normalisation(numeric)
        if self.history_features is not None:
            self.history_features.numeric.fit_normalisation(numeric)

    def fit_readers(self, numeric: Tensor) -> None:
        """Normalise reader columns by logged rows (B, F)."""
        self.reader_features.fit_normalisation(numeric)

    @property
    def normalisations(self) -> Normalisations:
        """Those of the item tower's and the user tower's raw columns."""
        return Normalisations(self.item_features.numeric, self.reader_features)

    def start_at_mean(self, mean: float) -> None:
        """Let the global bias be this mean, for MSE."""
        self.prediction.start_at_mean(mean)

    def start_at_rate(self, rate: float) -> None:
        """Let the global bias be the log-odds of this rate, for BCE."""
        self.prediction.start_at_rate(rate)

    @torch.no_grad()
    def shift(self, by: Tensor | float) -> None:
        """Add a number to all scores."""
        (self.prediction.global_bias if self.wide is None else self.wide.level).add_(by)

    def embed_items(
        self, numeric: Tensor, categorical: Tensor, age_hours: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Item tower: what an article is, without its age.

        Args:
            numeric: float32 (N, F).
            categorical: int64 (N, C), in the order of ``config.item.categories``.
            age_hours: float32 (N,); only the ablation ``age_in_item_tower`` looks at it (0 if None).

        Returns:
            v float32 (N, ``item_dim``) and bias b float32 (N,).
        """
        features = self.item_features(numeric, categorical)
        output = item_outputs(self.item_tower, features, age_hours, with_age=self.config.age_in_item_tower)
        vector, bias = output[:, :-1], output[:, -1]
        if self.wide is not None:
            bias = bias if self._trust is None else bias * self._trust
            bias = bias + self.wide.articles(features[:, : self.config.item.num_numeric].detach(), categorical)
        if self.channel is not None:
            vector = torch.cat([vector, self.channel.articles(numeric, categorical)], dim=1)
        return vector, bias

    def embed_history(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """What the user tower sees of clicked articles where the item encoder is not shared.

        Args:
            numeric: float32 (N, F).
            categorical: int64 (N, C).

        Returns:
            float32 (N, ``history_dim``).
        """
        if self.history_tower is None:
            return self.embed_items(numeric, categorical)[0]
        features = self.item_features if self.history_features is None else self.history_features
        vectors: Tensor = self.history_tower(features(numeric, categorical))
        if self.channel is None:
            return vectors
        return torch.cat([vectors, self.channel.articles(numeric, categorical)], dim=1)

    def embed_users(
        self,
        history_vectors: Tensor,
        history_mask: Tensor,
        numeric: Tensor,
        *,
        history_columns: Tensor | None = None,
        history_ids: Tensor | None = None,
    ) -> UserOutput:
        """User tower: who asks.

        Args:
            history_vectors: of the articles last clicked, newest first, float32 (B, L, ``history_dim``): v where the
                item encoder is shared, detached by the caller if the item tower shall not learn from them.
            history_mask: bool (B, L), False where there is none.
            numeric: the reader's columns, float32 (B, F).
            history_columns: ``HISTORY_COLUMNS`` numbers of each click, float32 (B, L, 2); needed with
                ``config.needs_minutes``.
            history_ids: the ``id_features`` of each click, int64 (B, L, I); needed with them.

        Returns:
            u and the parameters of the age decay.
        """
        encoder_input = self.encoder_input(history_vectors, history_mask, history_columns)
        state = self.history(encoder_input, history_mask)
        bags = self._bags(history_mask, history_columns, history_ids)
        user = self.users_of_state(state, numeric, bags)
        if self.channel is None:
            return user
        log_minutes = None if history_columns is None else history_columns[..., 1]
        match = self.channel.readers(history_vectors[..., self._encoded_dim :], history_mask, log_minutes)
        return UserOutput(torch.cat([user.vector, match], dim=1), user.decay)

    def without_age(self, item: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> AgelessItems:
        """Of v (N, ``item_dim``) all but the decay parameters, weighed by trust, (N, ``vector_dim``), and b (N,)."""
        counts = np.float32(1.0 if self.wide is None else float(self.wide.trust))
        return AgelessItems(np.hstack([counts * item[:, : self.config.dim], item[:, self._decay_end :]]), bias)

    def encoder_input(self, vectors: Tensor, mask: Tensor, columns: Tensor | None) -> Tensor:
        """What the history encoder is given: vectors in units of its other inputs, and the clicks' columns."""
        require_shape(vectors, (len(mask), mask.shape[-1], self.history_dim), "history_vectors")
        # The mean is scaled afterwards: its learned vector for no history then learns at the pace of the rest.
        scale = 1.0 if self.config.encoder == "mean" else self._history_scale
        vectors = vectors[..., : self._encoded_dim]
        scaled = vectors * scale if scale != 1.0 else vectors
        if not self.config.history_columns:
            return scaled
        require(columns is not None, "history_columns", None, f"shape {(*mask.shape, HISTORY_COLUMNS)}")
        assert columns is not None
        require_shape(columns, (*mask.shape, HISTORY_COLUMNS), "history_columns")
        return torch.cat([scaled, columns * (scale / self._history_scale)], dim=2)

    def users_of_state(self, state: Tensor, numeric: Tensor, bags: Tensor | None) -> UserOutput:
        """The user tower on encoded histories (B, ``history.out_dim``), reader columns (B, F) and id bags.

        Without the content channel: u (B, ``dim``).
        """
        if self.config.encoder == "mean":
            state = state * self._history_scale
        parts = [state, self.reader_features(numeric)] + ([] if bags is None else [bags])
        output = self.user_tower(torch.cat(parts, dim=1))
        return UserOutput(output[:, : self.config.dim], output[:, self.config.dim :])

    def _bags(self, mask: Tensor, columns: Tensor | None, ids: Tensor | None) -> Tensor | None:
        if self.id_bags is None:
            return None
        require(ids is not None and columns is not None, "history_ids", None, "ids and columns of each click")
        assert ids is not None
        assert columns is not None
        bags: Tensor = self.id_bags(ids, mask, columns[..., 1].expm1())
        return bags

    def score(self, user: UserOutput, item: Tensor, bias: Tensor, age_hours: Tensor) -> Tensor:
        """Scores to train on. The number of axes says which reader meets which article.

        Args:
            user: B readers.
            item: v, (B, d) row by row; (B, K, d) slates; (N, d) every reader with every article.
            bias: b in the same shape, less the last axis.
            age_hours: age at the impression: (B,) row by row; (B, K); (B, N) for all pairs, always two axes
                then.

        Returns:
            float32 in the shape of ``age_hours``.
        """
        pairs = item.ndim == 2 and age_hours.ndim == 2
        dim = self.config.dim
        # Split once: every slice would cost the gradient a pass over all columns.
        vector, decay, content = torch.split(item, [dim, self._decay_end - dim, self._channel_dim], -1)
        score: Tensor = self.prediction(user.vector[:, :dim], vector, bias, pairs=pairs)
        require_shape(age_hours, tuple(score.shape), "age_hours")
        fading = self.decay.score(user.decay, decay, age_hours)
        if self._trust is not None:
            # The bias is shared with the wide part, and has been weighed.
            own = bias if bias.shape == score.shape else bias[None]
            score, fading = own + self._trust * (score - own), self._trust * fading
        score = score + fading
        if self.wide is not None:
            score = score + self.wide.aged(age_hours)
        if self.channel is None:
            return score
        return score + self.channel.score(user.vector[:, dim:], content.detach(), pairs=pairs)

    def rerank(
        self,
        score: Tensor,
        user: UserOutput,
        item: Tensor,
        age_hours: Tensor,
        position: Tensor | None = None,
        crosses: Tensor | None = None,
    ) -> Tensor:
        """The second stage's logits of slates or shortlists, float32 (B, M): see :class:`Reranker`.

        Raises:
            ValueError: the model has no reranker.
        """
        require(self.reranker is not None, "reranker", None, "a model with one")
        assert self.reranker is not None
        dim = self.config.dim
        logits: Tensor = self.reranker(score, user.vector[:, :dim], item[..., :dim], age_hours, position, crosses)
        return logits

    def augment_items(
        self,
        item: Tensor,
        bias: Tensor,
        publish_time: Tensor,
        t_ref: float,
        column_scale: Tensor | float = 1.0,
    ) -> Tensor:
        """What an index stores, valid at every moment: v' = [v, b, age columns, channel].

        Args:
            item: v, (N, ``item_dim``).
            bias: b, (N,).
            publish_time: hours, float64 (N,).
            t_ref: reference in hours, the same as in ``augment_users``; near the live window.
            column_scale: factor of the age columns, a number or (E,), taken back in ``augment_users``. Exact
                search does not need it; ANN recall collapses unless these columns spread like the others.

        Returns:
            float32 (N, ``augmented_dim``).
        """
        require_shape(publish_time, (len(item),), "publish_time")
        dim, end = self.config.dim, self._decay_end
        columns = self.decay.item_columns(publish_time, t_ref, item[:, dim:end])
        if self.wide is not None:
            columns = torch.cat([columns, self.wide.item_columns(publish_time, t_ref)], dim=1)
        vector = self.prediction.items(item[:, :dim])
        return torch.cat([vector, bias[:, None], columns * column_scale, item[:, end:].detach()], dim=1)

    def augment_users(self, user: UserOutput, now: Hours, t_ref: float, column_scale: Tensor | float = 1.0) -> Tensor:
        """What is searched for at the moment ``now``: u' = [u, 1, age columns, channel].

        u' . v' is the ranking score; with ``constant`` added it is ``score``.

        Args:
            user: B readers.
            now: hours, a number or float64 (B,).
            t_ref: as in ``augment_items``.
            column_scale: as in ``augment_items``.

        Returns:
            float32 (B, ``augmented_dim``).
        """
        columns = self.decay.user_columns(user.decay, now, t_ref)
        dim, one = self.config.dim, torch.ones(len(columns), 1)
        vector, match = self.prediction.users(user.vector[:, :dim]), user.vector[:, dim:]
        if self._trust is not None:
            columns, vector = columns * self._trust, vector * self._trust
        if self.wide is not None:
            fading = self.wide.user_columns(elapsed(now, t_ref))
            columns = torch.cat([columns, fading.expand(len(columns), -1)], dim=1)
        return torch.cat([vector, one, columns / column_scale, match], dim=1)

    def constant(self, user: UserOutput, now: Hours, t_ref: float) -> Tensor:
        """``score`` less u' . v', the same for all articles of a reader: float32 (B,)."""
        fading = self.decay.constant(user.decay, now, t_ref)
        return self.level + (fading if self._trust is None else fading * self._trust)

    def parameter_counts(self) -> dict[str, int]:
        """Number of trained parameters of each part, and their ``total``."""
        counts = {name: sum(p.numel() for p in part.parameters()) for name, part in self.named_children()}
        return {**counts, "total": sum(counts.values())}

    def to_arrays(self) -> Arrays:
        """All parameters and buffers as arrays (copies), for an npz without pickle."""
        return arrays_of(self)

    def from_arrays(self, arrays: Arrays) -> None:
        """Take over what ``to_arrays`` of a model of the same config gave.

        Raises:
            ValueError: on missing or unknown names, or shapes of another config; nothing is taken over then.
        """
        load_arrays(self, arrays)
