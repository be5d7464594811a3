"""All arrays and numbers that an object holds, found by walking it: what a snapshot may have forgotten."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch


def walk(
    value: Any, skip: tuple[str, ...] = (), path: str = "", seen: Collection[int] = ()
) -> Iterator[tuple[str, Any]]:
    """Values below an object of ours, by where they stand: arrays, tensors as arrays, numbers, words, random streams.

    Args:
        value: the object.
        skip: starts of paths that are left out.
        path: where it stands.
        seen: objects above it, by id.
    """
    if path.startswith(skip) and path:
        return
    if isinstance(value, torch.Tensor):
        yield path, value.detach().numpy()
    elif isinstance(value, np.random.Generator):
        yield path, json.dumps(value.bit_generator.state)
    elif isinstance(value, torch.Generator):
        yield path, value.get_state().numpy()
    elif isinstance(value, np.ndarray | np.generic | int | float | str | None):
        yield path, value
    elif isinstance(value, torch.optim.Optimizer):
        yield from walk(value.state_dict()["state"], skip, path, seen)
    elif id(value) in seen:
        return
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, skip, f"{path}.{key}", (*seen, id(value)))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from walk(item, skip, f"{path}.{number}", (*seen, id(value)))
    elif type(value).__module__.startswith(("feedgym.", "torch.nn")):
        parts = {**vars(value)}
        if isinstance(value, torch.nn.Module):
            own = ("_parameters", "_buffers", "_modules")
            hooks = {name for name in parts if name.endswith(("_hooks", "_hooks_with_kwargs", "_always_called"))}
            parts = {n: v for n, v in parts.items() if n not in (*own, *hooks, "_non_persistent_buffers_set")}
            parts |= {name: item for group in own for name, item in vars(value)[group].items()}
        for name, item in parts.items():
            yield from walk(item, skip, f"{path}.{name}".removeprefix("."), (*seen, id(value)))


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Paths whose values are not the same to the bit, or are there on one side only."""
    same = {path for path in one.keys() & other.keys() if _equal(one[path], other[path])}
    return sorted((one.keys() | other.keys()) - same)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and (a == b or a != a)
