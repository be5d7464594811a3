"""How a learned agent serves: vectors of articles and readers, their clocks, the index, and lists drawn ahead.

May import ``slate_policy``, ``retrieval``, ``feedgym.towers`` and ``feedgym.env``. Names are looked up late: torch.
"""

from typing import TYPE_CHECKING

from feedgym.env.late_names import late_names

if TYPE_CHECKING:
    from feedgym.agents.serving.acted import Acted
    from feedgym.agents.serving.clocks import Clocks, ServingMode, clocks_of
    from feedgym.agents.serving.histories import click_columns, click_vectors, embed_readers
    from feedgym.agents.serving.item_store import NUM_COUNTERS, ItemStore, site_counters
    from feedgym.agents.serving.lists_ahead import ListsAhead
    from feedgym.agents.serving.logged_slates import LoggedTick, served_by_another
    from feedgym.agents.serving.requests import OWN_READER_COLUMNS, Requests
    from feedgym.agents.serving.serving import Serving
    from feedgym.agents.serving.serving_cost import ServingCost

__all__ = [
    "NUM_COUNTERS",
    "OWN_READER_COLUMNS",
    "Acted",
    "Clocks",
    "ItemStore",
    "ListsAhead",
    "LoggedTick",
    "Requests",
    "Serving",
    "ServingCost",
    "ServingMode",
    "click_columns",
    "click_vectors",
    "clocks_of",
    "embed_readers",
    "served_by_another",
    "site_counters",
]

__getattr__ = late_names(
    __name__,
    {
        "Acted": "acted",
        "Clocks": "clocks",
        "ServingMode": "clocks",
        "clocks_of": "clocks",
        "click_columns": "histories",
        "click_vectors": "histories",
        "embed_readers": "histories",
        "ItemStore": "item_store",
        "NUM_COUNTERS": "item_store",
        "site_counters": "item_store",
        "ListsAhead": "lists_ahead",
        "LoggedTick": "logged_slates",
        "served_by_another": "logged_slates",
        "OWN_READER_COLUMNS": "requests",
        "Requests": "requests",
        "Serving": "serving",
        "ServingCost": "serving_cost",
    },
)
