"""Where the repository's own files are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
EBNERD = ROOT / "experiments" / "data" / "ebnerd_articles.csv.gz"
"""The articles that are shipped."""
