"""Editorial rules (exclude, cap, pin, minimum share), their syntax, and what they do to a slate as it fills.

May import ``feedgym.env``.
"""

from feedgym.agents.editorial.rules import CapPerCategory, Exclude, MinimumShare, Pin, Rule, Rules
from feedgym.agents.editorial.state import Cells, Shares, make_caps, make_cells, pinned_articles
from feedgym.agents.editorial.syntax import rules_of

__all__ = [
    "CapPerCategory",
    "Cells",
    "Exclude",
    "MinimumShare",
    "Pin",
    "Rule",
    "Rules",
    "Shares",
    "make_caps",
    "make_cells",
    "pinned_articles",
    "rules_of",
]
