"""Published two-tower systems as settings of our learners: ``SYSTEMS``, name -> what was published, and its source.

A system here is its *model and training*, on FeedGym's world, at two sizes (``size=small`` or ``published``). Each fact
of a system says what its source says, what is done here, and why where they differ; its settings stand beside it.
"""

from feedgym.agents.registry.published.google import GOOGLE_PLAY, YOUTUBE, YOUTUBE_RERANK
from feedgym.agents.registry.published.industry import RECRUIT, UBER, ZOZO
from feedgym.agents.registry.published.news import NIKKEI, NRMS, NRMS_SOFTMAX
from feedgym.agents.registry.published.sequences import BERT4REC, SASREC
from feedgym.agents.registry.published.system import SIZES, Fact, Size, SizeConfig, System

SYSTEMS: dict[str, System] = {
    "youtube-2016": YOUTUBE,
    "youtube-rerank": YOUTUBE_RERANK,
    "google-play-mns": GOOGLE_PLAY,
    "uber-shared": UBER,
    "sasrec": SASREC,
    "bert4rec": BERT4REC,
    "nrms": NRMS,
    "nrms-softmax": NRMS_SOFTMAX,
    "nikkei-realtime": NIKKEI,
    "recruit-ann": RECRUIT,
    "zozo-modules": ZOZO,
}
"""Name -> system."""

__all__ = ["SIZES", "SYSTEMS", "Fact", "Size", "SizeConfig", "System"]
