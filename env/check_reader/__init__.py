"""``check_reader_model``: what is wrong with a reader model of one's own, in plain words.

May import ``feed`` and what is below it.
"""

from feedgym.env.check_reader.rehearsal import check_reader_model
from feedgym.env.check_reader.report import ReaderProblem, ReaderReport

__all__ = ["ReaderProblem", "ReaderReport", "check_reader_model"]
