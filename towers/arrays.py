"""A model's state as plain arrays: no pickle in a checkpoint."""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from feedgym.towers.checks import require, require_shape

Arrays = dict[str, npt.NDArray[np.generic]]


def arrays_of(model: nn.Module) -> Arrays:
    """All parameters and buffers of ``model`` as arrays (copies): what :func:`load_arrays` takes."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def load_arrays(model: nn.Module, arrays: Arrays) -> None:
    """Set all parameters and buffers of ``model``, or none.

    Raises:
        ValueError: on missing or unknown names, or shapes of another model.
    """
    own = model.state_dict()
    odd = sorted(own.keys() ^ arrays.keys())
    require(not odd, "arrays", f"missing or unknown {odd[:5]}", "the names of to_arrays()")
    given = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for name, tensor in given.items():
        require_shape(tensor, tuple(own[name].shape), name)
    model.load_state_dict(given)
