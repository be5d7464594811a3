"""Study: the newsroom replays what a real site published (Ekstra Bladet, 3,080 articles in 28 days).

The articles, their times, popularity and read times are real; the readers are those of ``vivid``, and what the
file does not hold is drawn. So it shows that the order of agents survives a real publication stream, not what
these agents would earn on that site.
"""

from pathlib import Path

from feedgym.experiments.compare import CompareConfig

ARTICLES = Path(__file__).parents[2] / "data" / "ebnerd_articles.csv.gz"
SEEDS = (0, 1, 2)


def config(out: Path) -> CompareConfig:
    """The comparison."""
    return CompareConfig(
        agents=("random", "recent", "popular", "regression"),
        seeds=SEEDS,
        readers=3000,
        articles=ARTICLES,
        out=out,
        log=False,
    )


CLAIMS = (
    ("regression", "random", "dwell regression beats random"),
    ("regression", "popular", "dwell regression beats popular"),
    ("regression", "recent", "dwell regression beats recent"),
)
"""(agent, other, what is claimed): each is a paired difference, reported whatever it is."""
