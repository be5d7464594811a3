"""Study: the newsroom replays what a real site published (Ekstra Bladet, 3,080 articles in 28 days).

The first 14 days are replayed. The articles, their times, popularity and read times are real; the readers are those of
``vivid``, and what the file does not hold is drawn. So it shows that the order of agents survives a real publication
stream, not what these agents would earn on that site. Agents have their shipped defaults, whatever these are when the
study is run. These seeds are fresh, and were frozen with all settings before they were run.
"""

from pathlib import Path

from feedgym.experiments.compare import CompareConfig

ARTICLES = Path(__file__).parents[2] / "data" / "ebnerd_articles.csv.gz"
SEEDS = (7150, 7151, 7152, 7153, 7154)
READERS, DAYS = 1000, 10.0
DWELL = "regression-dwell"


def config(out: Path) -> CompareConfig:
    """The comparison."""
    return CompareConfig(
        agents=("random", "recent", "popular", DWELL, "ltv", "return"),
        seeds=SEEDS,
        readers=READERS,
        days=DAYS,
        articles=ARTICLES,
        out=out,
        log=False,
    )


CLAIMS = (
    (DWELL, "random", "dwell regression beats random"),
    (DWELL, "popular", "dwell regression beats popular"),
    (DWELL, "recent", "dwell regression beats recent"),
    ("ltv", DWELL, "long-term-value regression beats dwell regression"),
    ("return", DWELL, "the model of returns beats dwell regression"),
)
"""(agent, other, what is claimed): each is a paired difference, reported whatever it is."""
