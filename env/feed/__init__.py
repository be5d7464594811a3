"""The core: one clock, one newsroom, one population. A tick publishes, asks for slates, and lets readers respond.

May import ``readers``, ``newsroom`` and what is below them.
"""

from feedgym.env.feed.arrivals import most_readers
from feedgym.env.feed.catalogue import Catalogue
from feedgym.env.feed.elsewhere import one_a_tick
from feedgym.env.feed.feed import Feed
from feedgym.env.feed.outcomes import ServedOutcome
from feedgym.env.feed.visits import SESSION_HOURS, Opens, ReaderRecords, Visits, valid_entries, visit_ids

__all__ = [
    "SESSION_HOURS",
    "Catalogue",
    "Feed",
    "Opens",
    "ReaderRecords",
    "ServedOutcome",
    "Visits",
    "most_readers",
    "one_a_tick",
    "valid_entries",
    "visit_ids",
]
