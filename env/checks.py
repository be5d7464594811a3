"""The one way in which FeedGym refuses bad input."""


def require(ok: bool, name: str, seen: object, allowed: str) -> None:
    """Raise ``ValueError`` naming the argument, the value seen and what is allowed."""
    if not ok:
        raise ValueError(f"{name}: got {seen!r}, needs {allowed}")
