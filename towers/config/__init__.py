"""What a two-tower model consists of: what a user chooses (``choices``), and with what the site gives (``model``).

Names are looked up late: the model's features import torch, what a user chooses does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from feedgym.towers.config.choices import ITEM_ENCODERS, Share, TowersConfig
    from feedgym.towers.config.model import HISTORY_COLUMNS, TwoTowerConfig
    from feedgym.towers.config.tables import names_in, one_of, require_known, tables_of

__all__ = [
    "HISTORY_COLUMNS",
    "ITEM_ENCODERS",
    "Share",
    "TowersConfig",
    "TwoTowerConfig",
    "names_in",
    "one_of",
    "require_known",
    "tables_of",
]

_HOMES = {
    **dict.fromkeys(("ITEM_ENCODERS", "Share", "TowersConfig"), "choices"),
    **dict.fromkeys(("HISTORY_COLUMNS", "TwoTowerConfig"), "model"),
    **dict.fromkeys(("names_in", "one_of", "require_known", "tables_of"), "tables"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
