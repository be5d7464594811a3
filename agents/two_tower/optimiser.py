"""An optimiser's state as plain arrays: no pickle in a checkpoint."""

import numpy as np
import torch

from feedgym.env.arrays import Arrays


def optimiser_arrays(optimiser: torch.optim.Optimizer) -> Arrays:
    """All moments and step counts, keyed by parameter number and name."""
    arrays: Arrays = {}
    for number, state in optimiser.state_dict()["state"].items():
        for name, value in state.items():
            arrays[f"{number}/{name}"] = np.asarray(value).copy()
    return arrays


def restore_optimiser(optimiser: torch.optim.Optimizer, arrays: Arrays) -> None:
    """Become the optimiser of :func:`optimiser_arrays`; its settings stay as they are."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in arrays.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = torch.from_numpy(value.copy())
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
