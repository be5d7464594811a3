"""The optimiser of an agent, and its state as plain arrays: no pickle in a checkpoint."""

from collections.abc import Iterable

import numpy as np
import torch
from torch.optim import AdamW, Optimizer

from feedgym.agents.learners import Trained
from feedgym.agents.two_tower.settings import OptimiserConfig
from feedgym.env.arrays import Arrays
from feedgym.towers.interface import Towers
from feedgym.towers.plain_torch import eager

_CHANNEL_RATE, _CHANNEL_DECAY = 2e-3, 1.0
"""Of a content channel's two scales: as the towers' by default, and not changed with theirs."""

_WIDE_RATE = 1e-2
"""Of a wide part that is trained with the towers: its columns are few and standardised."""


def make_optimiser(model: Towers, config: OptimiserConfig, modules: Iterable[Trained]) -> Optimizer:
    """AdamW with a group for the towers, for content channels, for wide parts, and for each further module."""
    scales, wide = ([p for part in parts for p in part.parameters()] for parts in (model.channels, model.wides))
    given = {id(p) for p in (*scales, *wide)}
    towers = [p for p in model.parameters() if id(p) not in given]
    groups = [(towers, config.learning_rate, config.weight_decay)]
    # A learner that fits them anew at each training has frozen them.
    for parts, rate, decay in ((scales, _CHANNEL_RATE, _CHANNEL_DECAY), (wide, _WIDE_RATE, 0.0)):
        trained = [p for p in parts if p.requires_grad]
        if trained:
            groups.append((trained, rate, decay))
    groups += [(list(each.module.parameters()), each.learning_rate, each.weight_decay) for each in modules]
    return eager(AdamW)(  # type: ignore[no-any-return]
        [{"params": own, "lr": rate, "weight_decay": decay} for own, rate, decay in groups],
        fused=True,  # one pass over each parameter: about a tenth of a step faster than torch's foreach
    )


def clip_gradients(optimiser: Optimizer, largest: float | None) -> None:
    """Scale all gradients down, so that together their norm is at most ``largest``; None leaves them."""
    if largest is not None:
        torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], largest)


def optimiser_arrays(optimiser: Optimizer) -> Arrays:
    """All moments and step counts, keyed by parameter number and name."""
    arrays: Arrays = {}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            arrays[f"{number}/{name}"] = np.asarray(value).copy()
    return arrays


def restore_optimiser(optimiser: Optimizer, arrays: Arrays) -> None:
    """Become the optimiser of :func:`optimiser_arrays`; its settings stay as they are."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in arrays.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = torch.from_numpy(value.copy())
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
