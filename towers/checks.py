"""The one way in which the towers refuse bad input; their own, since `towers` imports nothing of ours."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def require(ok: bool, name: str, seen: object, allowed: str) -> None:
    """Raise ``ValueError`` naming the argument, the value seen and what is allowed."""
    if not ok:
        raise ValueError(f"{name}: got {seen!r}, needs {allowed}")


def require_shape(tensor: "Tensor", shape: tuple[int, ...], name: str) -> None:
    """Raise ``ValueError`` unless ``tensor`` has exactly this shape: broadcasting hides mistakes."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, needs {shape}")
