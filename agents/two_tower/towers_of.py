"""The towers that an agent's settings ask for, on a site."""

from feedgym.agents.agent import Site
from feedgym.agents.serving import NUM_COUNTERS, OWN_READER_COLUMNS
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig


def towers_of(site: Site, config: TwoTowerAgentConfig) -> TwoTowerConfig:
    """What was chosen, and what this site gives."""
    features, stage = config.features, config.second_stage
    topics, publishers, _ = site.category_sizes
    categories = [CategoryConfig(name="topic", size=topics), CategoryConfig(name="publisher", size=publishers)]
    if features.author_buckets:
        author = CategoryConfig(name="author", size=features.author_buckets, dim=features.author_dim, hashed=True)
        categories.append(author)
    return TwoTowerConfig(
        **vars(config.towers),
        item=ItemFeaturesConfig(
            num_numeric=site.num_numeric + NUM_COUNTERS * features.site_counters,
            categories=tuple(categories),
            text_columns=site.num_text,
            counter_columns=NUM_COUNTERS * features.site_counters,
        ),
        reader_numeric=OWN_READER_COLUMNS + site.num_reader_features + features.example_age,
        history_length=site.history_length,
        id_feature="author" if features.author_buckets else None,
        num_positions=site.slate_size,
        num_crosses=0 if stage.grows_trees else len(stage.cross_names),
    )
