"""An article from its fields: text-like vector, numbers, categories (after NRMS and NAML, Wu et al., 2019).

Shapes: N articles, F fields, t = ``token_dim``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require, require_shape
from feedgym.towers.encoders.pooling import AdditivePooling
from feedgym.towers.encoders.self_attention import SelfAttention
from feedgym.towers.features import linear


class FieldAttention(nn.Module):
    """Each field is a token; they see each other by self-attention, and additive attention pools them.

    NRMS does so with the words of a title, NAML pools the views of an article. The fields keep their own
    values beside what they saw of the others, and a norm comes before the output: without it the start would
    be the quieter, the more fields there are.

    Args:
        field_dims: width of each field, F >= 1.
        out_dim: width of the output.
        heads: attention heads, a divisor of ``token_dim``.
        token_dim: t, width of the tokens.
        generator: where the initial weights are drawn from.
        out_gain: root mean square of the outputs at the start.
    """

    def __init__(
        self,
        field_dims: Sequence[int],
        out_dim: int,
        heads: int,
        token_dim: int,
        generator: torch.Generator,
        out_gain: float = 1.0,
    ) -> None:
        super().__init__()
        require(
            len(field_dims) > 0 and min(field_dims) >= 1, "field_dims", tuple(field_dims), "at least one, >= 1 each"
        )
        require(min(out_dim, token_dim) >= 1, "out_dim, token_dim", (out_dim, token_dim), ">= 1 each")
        self.field_dims = tuple(field_dims)
        self.projections = nn.ModuleList(linear(dim, token_dim, 1.0, generator) for dim in field_dims)
        # Which field a token is: two fields may hold alike vectors.
        self.names = nn.Parameter(0.5 * torch.randn(len(field_dims), token_dim, generator=generator))
        self.attend = SelfAttention(token_dim, token_dim, heads, generator)
        self.pool = AdditivePooling(token_dim, token_dim, generator)
        self.norm = nn.LayerNorm(token_dim)
        self._last = linear(token_dim, out_dim, out_gain, generator)

    @property
    def last(self) -> nn.Linear:
        """The output layer."""
        return self._last

    def forward(self, fields: Sequence[Tensor]) -> Tensor:
        """Encode articles.

        Args:
            fields: F tensors, float (N, ``field_dims[f]``).

        Returns:
            float (N, ``out_dim``).

        Raises:
            ValueError: on another number of fields, or other widths.
        """
        require(len(fields) == len(self.field_dims), "fields", len(fields), f"{len(self.field_dims)} fields")
        for number, (field, dim) in enumerate(zip(fields, self.field_dims, strict=True)):
            require_shape(field, (len(fields[0]), dim), f"fields[{number}]")
        projected = [project(field) for project, field in zip(self.projections, fields, strict=True)]
        tokens = torch.stack(projected, dim=1) + self.names  # (N, F, t)
        output: Tensor = self._last(self.norm(self.pool(tokens + self.attend(tokens))))
        return output
