"""Torch without what it imports along the way: seconds of each process, for nothing that eager towers use."""

from functools import cache
from typing import Any, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def allocated(module: Module) -> Module:
    """Memory, not set to anything, for a module that was built on the meta device.

    As ``module.to_empty(device="cpu")``, which imports sympy: more than a second of each process that makes a tower.
    """
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(torch.empty(parameter.shape, dtype=parameter.dtype)))
    return module


@cache
def eager(optimiser: type[torch.optim.Optimizer]) -> type[Any]:
    """An optimiser of torch as it is, for steps that are not compiled: its methods without torch's wrappers.

    The wrappers exist for torch's compiler and import ``torch._dynamo``: two CPU seconds of each process that trains.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict", "step")
    # A method that has no wrapper in this version of torch is taken as it stands.
    own = {name: getattr(getattr(optimiser, name), "__wrapped__", getattr(optimiser, name)) for name in names}
    return type(optimiser.__name__, (optimiser,), {**own, "step": torch.no_grad()(own["step"])})
