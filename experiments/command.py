"""What the commands share: reading settings from the command line, and ending with one clear line."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

Config = TypeVar("Config")


def parsed(config: type[Config], args: Sequence[str] | None, command: str, description: str | None) -> Config:
    """The config that the command line stands for; a bad value ends the program with a message that says why."""
    import tyro

    try:
        return tyro.cli(config, args=args, prog=f"feedgym {command}", description=description)
    except OSError as error:  # tyro itself shows ValueErrors
        sys.exit(f"feedgym {command}: {error}")


@contextlib.contextmanager
def stopping(command: str) -> Iterator[None]:
    """End with a message, not with a traceback, on bad input, failed runs and Ctrl-C."""
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"feedgym {command}: {error}")
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last checkpoints.", file=sys.stderr)
        # As a shell reports a program that SIGINT ended.
        sys.exit(130)
