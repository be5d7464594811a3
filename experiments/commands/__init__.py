"""The smaller commands: a file each. May import ``logs``, ``vectors``, ``runs`` and what is below them."""

from feedgym.experiments.commands.log import LogConfig, make_log

__all__ = ["LogConfig", "make_log"]
