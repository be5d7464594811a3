"""The towers that an agent's settings ask for, on a site, and the serving that tells them of readers."""

from functools import partial

from feedgym.agents.agent import Site
from feedgym.agents.serving import NUM_COUNTERS, OWN_READER_COLUMNS, Serving
from feedgym.agents.two_tower.settings import FeaturesConfig, TwoTowerAgentConfig
from feedgym.env.checks import require
from feedgym.towers.columns.reader_features import reader_rows
from feedgym.towers.config import TwoTowerConfig
from feedgym.towers.features import CategoryConfig, ItemFeaturesConfig

_ONE_TABLE = "ids"


def ids_of(features: FeaturesConfig) -> dict[str, CategoryConfig]:
    """The kinds of ids that are features, by name."""
    found = {}
    for kind in features.id_kinds:
        found[kind] = CategoryConfig(
            name=kind,
            size=getattr(features, f"{kind}_buckets"),
            dim=getattr(features, f"{kind}_dim"),
            hashed=True,
            # Authors stay, and are there from the start; of a new article or reader there is nothing to say yet.
            start=1.0 if kind == "author" and not features.one_table else 0.0,
            half_life_hours=features.article_id_half_life_hours
            if kind == "article" and not features.one_table
            else None,
            table=_ONE_TABLE if features.one_table else None,
        )
    return found


def towers_of(site: Site, config: TwoTowerAgentConfig) -> TwoTowerConfig:
    """What was chosen, and what this site gives."""
    features, ids, stage = config.features, ids_of(config.features), config.second_stage
    topics, publishers, _ = site.category_sizes
    categories = [CategoryConfig(name="topic", size=topics), CategoryConfig(name="publisher", size=publishers)]
    categories += [ids[kind] for kind in ("author", "article") if kind in ids]
    bags = [kind for kind, of_readers in (("author", True), ("article", features.article_bags)) if of_readers]
    apart = config.towers.share == "none" and features.one_table
    require(not apart, "one_table", True, "share=embeddings or item_encoder: of share=none no table is shared")
    return TwoTowerConfig(
        **vars(config.towers),
        item=ItemFeaturesConfig(
            num_numeric=site.num_numeric + NUM_COUNTERS * features.site_counters,
            categories=tuple(categories),
            text_columns=site.num_text,
            counter_columns=NUM_COUNTERS * features.site_counters,
        ),
        reader_numeric=OWN_READER_COLUMNS + site.num_reader_features + features.example_age + ("reader" in ids),
        reader_id=ids.get("reader"),
        history_length=min(site.history_length, features.history_clicks or site.history_length),
        id_features=tuple(kind for kind in bags if kind in ids),
        num_positions=site.slate_size,
        num_crosses=0 if stage.grows_trees else len(stage.cross_names),
    )


def serving_of(site: Site, config: TwoTowerAgentConfig, towers: TwoTowerConfig) -> Serving:
    """What is fresh when, and readers' columns as the towers want them."""
    ids = towers.reader_id
    return Serving(
        config.serving.clocks,
        site.num_reader_features,
        site.history_length,
        example_age=config.features.example_age,
        id_rows=None if ids is None else partial(reader_rows, category=ids),
    )
