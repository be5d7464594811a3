"""docs/guide/published.md, made of the facts: ``python -m feedgym.agents.registry.published.page > FILE``."""

from feedgym.agents.registry.published import SYSTEMS
from feedgym.agents.registry.published.system import System

_HEAD = """# Published systems, fact by fact
Eleven agents stand for systems that were published: papers, and reports of engineers. This page says of each what its
source says, what FeedGym does, and why where the two differ. It is made of what stands beside the settings in
`agents/registry/published/` (a test holds the two equal), and `feedgym agents NAME` prints the same.

```
feedgym compare --agents random sasrec sasrec:size=published
feedgym agents sasrec                           # the table below, and every setting
feedgym towers sasrec:size=published            # its layers and tables, and how many parameters they have
```
`size=published` has layers, vectors, heads, dropout, history, negatives, batch and optimiser as the source has them,
where it says so. `size=small`, the default, has the same shape and losses at a size that a day of one small site's
clicks can fill, and FeedGym's own optimiser. *Not stated*: the source does not say. *Not verified*: the source, or that
part of it, could not be read here.

All of them meet news by the same exact columns of age, and their slates are drawn by one policy: no source says how its
model met articles that fade within hours. So a comparison is of towers, losses and sizes. None has a wide part or a
content channel, which are FeedGym's own. Nothing was copied from any system's code."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("_", "\\_")


def _section(name: str, system: System) -> str:
    lines = [f"## {name}", f"{system.source}. Learner: `{system.learner}`.", ""]
    lines += ["| part | the source says | FeedGym does | why | settings |", "|---|---|---|---|---|"]
    for fact, settings in system.rows():
        words = f"`{settings.replace('; small: ', '`; small: `')}`" if settings else ""
        cells = [_cell(text) for text in (fact.what, fact.says, fact.here, fact.why)]
        lines.append(f"| {' | '.join([*cells, words])} |")
    return "\n".join(lines)


def page() -> str:
    """The whole page."""
    return "\n\n".join([_HEAD, *(_section(name, system) for name, system in SYSTEMS.items())]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
