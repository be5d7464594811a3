"""What a visit is worth later: returns of the readers' own later visits, and a head that predicts them.

The head is a baseline: fitted to the logged returns, it is the value of the policy that logged, which is harmless
(any function of the reader's state is). The last gap of every reader is open: its worth is the head's value times
the expected discount until the return, by a model of return times (docs/mathematics.md 3.5 and 4).
Shapes: n visits, K positions, R columns of a reader. Time is in hours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from feedgym.agents.learners.returns.return_time import ReturnTime
from feedgym.agents.learners.returns.returns import chain_order, lambda_returns, running_mean
from feedgym.env.arrays import Arrays, Bools, Doubles, Floats, Ints, nest, unnest
from feedgym.env.config import RewardConfig
from feedgym.towers.arrays import arrays_of
from feedgym.towers.encoders import FeedForward
from feedgym.towers.features import Standardise

_PAST_RATE = 0.2
"""Weight of the newest visit in what is remembered of a reader's rewards and gaps."""
_PAST_COLUMNS = 3
_WIDTHS = (32,)


@dataclass(frozen=True)
class Visited:
    """Logged visits, in any order."""

    now: Doubles
    """Hours, (n,)."""
    row: Ints
    """Whose, (n,)."""
    reader: Floats
    """Columns of the reader, (n, R)."""
    clicks: Bools
    """(n, K)"""
    slot_reward: Floats
    """(n, K)"""


def slot_rewards(weights: RewardConfig, clicks: Bools, dwell_minutes: Floats, subscribed: Bools) -> Floats:
    """Reward of each position, float32 (n, K); a subscription is shared by the articles that were clicked."""
    reward: Floats = (weights.dwell_minutes * dwell_minutes).astype(np.float32)
    if weights.click:
        reward += np.float32(weights.click) * clicks.astype(np.float32)
    if weights.subscription:
        won = np.float32(weights.subscription) * subscribed
        each: Floats = (won / np.maximum(clicks.sum(axis=1), 1)).astype(np.float32)
        reward += clicks.astype(np.float32) * each[:, None]
    return reward


class Future(nn.Module):
    """Returns of logged visits, and the value head.

    Args:
        num_reader: R.
        discount_per_hour: g.
        trace: lambda of the returns.
        generator: of the head's initial weights.
    """

    def __init__(self, num_reader: int, discount_per_hour: float, trace: float, generator: torch.Generator) -> None:
        super().__init__()
        width = num_reader + _PAST_COLUMNS
        self._discount, self._trace = discount_per_hour, trace
        self.features = Standardise(width)
        self.head = FeedForward(width, _WIDTHS, 2, generator, 0.1)
        self.mean, self.sd = nn.Buffer(torch.zeros(2)), nn.Buffer(torch.ones(2))
        """Of the two targets: the head's own outputs are z-scores."""
        self.return_time = ReturnTime(width + 2)
        self._started = False
        self.state: Floats = np.zeros((0, width), dtype=np.float32)
        """What the head sees of each visit, (n, R + 3), in the order of the visits given."""
        self.reward: Doubles = np.zeros(0)
        """Reward of each visit, (n,)."""
        self.future: Doubles = np.zeros(0)
        """``g^gap G'``: discounted return from the next visit on, (n,)."""
        self.share: Doubles = np.zeros(0)
        """Share of a visit's reward that each position has, (K,)."""

    def follow(self, visited: Visited, now: float) -> None:
        """Chain the visits and compute their returns, with the window closed at ``now``."""
        order, last = chain_order(visited.row, visited.now)
        time, first = visited.now[order], np.roll(last, 1)
        gap = np.where(last, now - time, np.roll(time, -1) - time)
        reward = visited.slot_reward.sum(axis=1, dtype=np.float64)[order]
        past = np.stack(
            [
                np.log1p(running_mean(reward, first, _PAST_RATE)),
                running_mean(np.log1p(gap), first, _PAST_RATE),
                np.log1p(np.arange(len(order)) - np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))),
            ],
            axis=1,
        )
        state = np.concatenate([visited.reader[order], past.astype(np.float32)], axis=1)
        done = np.stack([np.log1p(visited.clicks.sum(axis=1)[order]), np.log1p(np.maximum(reward, 0.0))], axis=1)
        after = np.concatenate([state, done.astype(np.float32)], axis=1)
        self.return_time.fit(after, gap, last)
        if not self._started:
            self.features.fit_normalisation(torch.from_numpy(state))
        value = self.predict(state).sum(axis=1) if self._started else np.full(len(order), reward.mean())
        end = np.zeros(len(order))
        if self.return_time.is_fitted:
            # The head's value at the last visit stands for that at the next: readers change slowly.
            end[last] = value[last] * self.return_time.expected_discount(after[last], gap[last], self._discount)
        returns = lambda_returns(reward, value, gap, last, end, self._discount, self._trace)
        self.state, self.reward, self.future = np.empty_like(state), np.empty(len(order)), np.empty(len(order))
        self.state[order], self.reward[order], self.future[order] = state, reward, returns - reward
        by_slot = visited.slot_reward.sum(axis=0, dtype=np.float64)
        self.share = by_slot / by_slot.sum() if by_slot.sum() > 0 else np.full(len(by_slot), 1.0 / len(by_slot))
        self._rescale(np.stack([self.reward, self.future], axis=1))
        self._started = True

    @torch.no_grad()
    def _rescale(self, targets: Doubles) -> None:
        """Let outputs be z-scores of these targets (n, 2), and change no prediction: returns grow for days.

        Pop-Art (van Hasselt et al., NeurIPS 2016).
        """
        mean = torch.from_numpy(targets.mean(axis=0).astype(np.float32))
        sd = torch.from_numpy(np.maximum(targets.std(axis=0), 1e-3).astype(np.float32))
        last = self.head.last
        if self._started:
            last.weight *= (self.sd / sd)[:, None]
            last.bias.copy_((self.sd * last.bias + self.mean - mean) / sd)
        self.mean.copy_(mean)
        self.sd.copy_(sd)

    def forward(self, state: Tensor) -> Tensor:
        """Expected reward of the visit and of the discounted future, (B, 2)."""
        output: Tensor = self.head(self.features(state)) * self.sd + self.mean
        return output

    @torch.no_grad()
    def predict(self, state: Floats) -> Doubles:
        """:meth:`forward` of visits (n, R + 3), float64 (n, 2)."""
        predicted: Doubles = self(torch.from_numpy(state)).numpy().astype(np.float64)
        return predicted

    def loss(self, slots: Ints) -> tuple[Tensor, Doubles]:
        """Squared error of visits (B,), each target in units of its deviation; and the predictions, float64 (B, 2)."""
        predicted = self(torch.from_numpy(self.state[slots]))
        target = np.stack([self.reward[slots], self.future[slots]], axis=1).astype(np.float32)
        error = ((predicted - torch.from_numpy(target)) / self.sd).square().mean()
        return error, predicted.detach().numpy().astype(np.float64)

    def to_arrays(self) -> Arrays:
        """What lasts from training to training."""
        arrays = arrays_of(self)
        arrays["started"] = np.asarray(self._started)
        return arrays | nest("return_time", self.return_time.snapshot())

    def from_arrays(self, arrays: Arrays) -> None:
        """The inverse of :meth:`to_arrays`."""
        self._started = bool(arrays["started"])
        self.return_time.restore(unnest("return_time", arrays))
        self.load_state_dict({name: torch.from_numpy(arrays[name].copy()) for name in self.state_dict()})
