"""The towers that an agent's settings ask for, on a site."""

from feedgym.agents.agent import Site
from feedgym.agents.serving import NUM_COUNTERS, OWN_READER_COLUMNS
from feedgym.agents.two_tower.settings import TwoTowerAgentConfig
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig
from feedgym.towers.rerankers import RERANKERS


def towers_of(site: Site, config: TwoTowerAgentConfig) -> TwoTowerConfig:
    """Sizes and parts of the model.

    Raises:
        ValueError: on a name that there is none of.
    """
    topics, publishers, _ = site.category_sizes
    categories = [CategoryConfig(name="topic", size=topics), CategoryConfig(name="publisher", size=publishers)]
    if config.author_buckets:
        author = CategoryConfig(name="author", size=config.author_buckets, dim=config.author_dim, hashed=True)
        categories.append(author)
    two_stages = config.prediction in RERANKERS
    return TwoTowerConfig(
        item=ItemFeaturesConfig(
            num_numeric=site.num_numeric + NUM_COUNTERS * config.site_counters,
            categories=tuple(categories),
            text_columns=site.num_text,
        ),
        reader_numeric=OWN_READER_COLUMNS + site.num_reader_features + config.example_age,
        widths=config.widths,
        dim=config.dim,
        history_length=site.history_length,
        encoder=config.encoder,
        item_encoder=config.item_encoder,
        heads=config.heads,
        layers=config.layers,
        dropout=config.dropout,
        layer_norm=config.layer_norm,
        residual=config.residual,
        share=config.share,
        history_gradient=config.history_gradient,
        history_columns=config.history_columns,
        id_feature="author" if config.author_buckets else None,
        prediction="dot" if two_stages else config.prediction,
        reranker=config.prediction if two_stages else None,
        num_positions=site.slate_size,
        age_decay=config.age_decay,
        age_in_item_tower=config.age_in_item_tower,
    )
