"""Dropout whose masks are drawn from a stream of the model's own, which is part of the model's state."""

import torch
from torch import Tensor, nn

from feedgym.towers.checks import require

_SEEDS = 2**32  # torch's CPU generator takes the low 32 bits of a seed
_STRIDE = 0x9E3779B1  # odd: the seeds of one stream repeat after 2**32 steps only


class Dropout(nn.Module):
    """Zero a share of the inputs and scale up the rest, in training only (Srivastava et al., JMLR 2014).

    ``nn.Dropout`` draws from torch's global state, which no checkpoint of a model holds. Here a step's mask
    follows from two numbers in ``state_dict``, the stream's seed and how many steps it has made: so a resumed
    run goes on byte for byte. ``rate`` 0 is the identity, has no state and draws nothing.

    Args:
        rate: share that is zeroed, 0 <= rate < 1.
        generator: where the stream's seed is drawn from.
    """

    stream: Tensor

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        require(0 <= rate < 1, "dropout", rate, "0 <= rate < 1")
        self.rate = rate
        if rate > 0:
            seed = torch.randint(_SEEDS, (1,), generator=generator)
            self.register_buffer("stream", torch.cat([seed, torch.zeros(1, dtype=torch.int64)]))

    def forward(self, values: Tensor) -> Tensor:
        """The values, float of any shape, with a share of them zeroed if the module is in training mode."""
        if self.rate == 0 or not self.training:
            return values
        seed, step = self.stream.tolist()
        self.stream[1] += 1
        generator = torch.Generator(values.device).manual_seed((seed + step * _STRIDE) % _SEEDS)
        draws = torch.rand(values.shape, generator=generator, device=values.device)
        return values * (draws >= self.rate) / (1 - self.rate)
