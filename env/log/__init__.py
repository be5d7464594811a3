"""The log: a row per impression in Parquet, its articles, and reading both back, also a site's own.

May import ``feed`` and what is below it. pyarrow is imported when a file is read or written.
"""

from feedgym.env.log.articles import LoggedNewsroom
from feedgym.env.log.files import ARTICLES_NAME, IMPRESSIONS, MODULES_NAME, OPENS, metadata_of, write_table
from feedgym.env.log.impressions import read_impressions, write_impressions
from feedgym.env.log.modules import write_modules
from feedgym.env.log.opens import OpenLog, open_columns, read_opens
from feedgym.env.log.reader import BATCH_ROWS, LogReader, LogSummary
from feedgym.env.log.writer import ImpressionLog, write_articles

__all__ = [
    "ARTICLES_NAME",
    "BATCH_ROWS",
    "IMPRESSIONS",
    "MODULES_NAME",
    "OPENS",
    "ImpressionLog",
    "LogReader",
    "LogSummary",
    "LoggedNewsroom",
    "OpenLog",
    "metadata_of",
    "open_columns",
    "read_impressions",
    "read_opens",
    "write_articles",
    "write_impressions",
    "write_modules",
    "write_table",
]
