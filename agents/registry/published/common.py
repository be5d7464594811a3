"""What is the same for all published systems, or for many of them."""

from typing import Any

from feedgym.agents.registry.published.system import Fact

WIDE = (1024, 512, 256)
FEEDGYM_OPTIMISER = {"learning_rate": 2e-3, "weight_decay": 1.0}
"""At ``size=small``: chosen for a site's own days, which are few."""


def age(decay: str) -> Fact:
    """How a model that was published without ages meets news."""
    return Fact(
        what="age of articles",
        says="not stated, or an input of the user side",
        here="an exact column of the inner product, the rate learned",
        why="news fades within hours; all systems get the same, so that a comparison is of towers and losses",
        settings={"age_decay": decay},
    )


def slates(sharpness: float) -> Fact:
    """How slates are drawn of scores."""
    return Fact(
        what="what is served",
        says="the best by score, after a ranker and rules of its own",
        here="slates drawn by FeedGym's policy, with exact propensities",
        why="one policy for all; how peaked it is was chosen on seeds 100 to 102",
        settings={"sharpness": sharpness},
    )


NOTHING_GIVEN = Fact(
    what="given parts of the score",
    says="none",
    here="none",
    settings={"wide_part": False, "content_channel": False},
)
LIVE = Fact(
    what="what a click is compared with in time",
    says="a corpus that does not change within a batch",
    here="articles that were live at the moment of the click",
    why="within a batch of news clicks articles come and go",
    settings={"negatives_live": True, "propensity_cap": None},
)
CLICKS = Fact(what="positives", says="what was clicked", here="the same", settings={"task": "click"})
COLUMNS = Fact(
    what="features",
    says="the site's own",
    here="those of the world: text-like vector, proxies, topic, publisher; of readers gap, visits, hour, clicks",
    why="the site is another one",
)


def unstated(where: str, **settings: Any) -> Fact:
    """Sizes and optimiser of which a source says nothing."""
    return Fact(
        what="sizes and optimiser",
        says=f"not stated {where}",
        here="FeedGym's own",
        why="nothing to go by",
        settings=settings,
    )
