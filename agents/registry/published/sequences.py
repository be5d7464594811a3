"""SASRec (2018) and BERT4Rec (2019)."""

from feedgym.agents.registry.published.common import (
    CLICKS,
    COLUMNS,
    FEEDGYM_OPTIMISER,
    LIVE,
    NOTHING_GIVEN,
    age,
    slates,
)
from feedgym.agents.registry.published.system import Fact, System

_CODE = "the authors' code"


def _items(dim: int) -> tuple[Fact, ...]:
    return (
        Fact(
            what="items",
            says="one table of ids, for the history and for what is foretold",
            here="one item encoder for both, trained through the history: a linear layer over the id's row, text, "
            "topic "
            "and publisher",
            why="of an id that is new each day nothing is known when it must be served",
            settings={
                "share": "item_encoder",
                "history_gradient": True,
                "article_buckets": 16384,
                "article_dim": dim,
                "item_encoder": "ffn",
                "widths": (),
            },
        ),
        Fact(
            what="user",
            says="the state at the newest place, nothing else",
            here="a linear layer over that state and the reader's columns",
            why="all systems know gap, visits and hour",
            settings={"prediction": "dot"},
        ),
    )


SASREC = System(
    description="causal transformer over the history, every click foretold from the older ones",
    source="Kang & McAuley, ICDM 2018",
    learner="contrastive",
    facts=(
        Fact(
            what="encoder",
            says=f"causal self-attention, 2 blocks, 1 head, learned positions (III); 50 numbers ({_CODE})",
            here="the same; positions count from the newest click, the norm stands before each part as in the paper",
            settings={"encoder": "sasrec", "layers": 2, "heads": 1, "dim": 50, "history_columns": False},
        ),
        Fact(
            what="loss",
            says="binary cross-entropy at every step, one negative a step that the user has not clicked (III-D, III-E)",
            here="the same for the clicks of histories, and for the click that is logged next, each a mean of its own",
            why="a click that was just made has a moment, and with it an age; those before have lost theirs",
            settings={
                "loss": "bce",
                "negatives": "own",
                "row_negatives": 1,
                "sequence_loss": "bce",
                "sequence_weight": 1.0,
            },
        ),
        Fact(
            what="length",
            says="200 of MovieLens, 50 of the other sets (IV)",
            here="50, at most as many as the site keeps",
            settings={"history_clicks": 50},
        ),
        Fact(
            what="dropout",
            says="0.2 of MovieLens, 0.5 of the sparser sets (IV)",
            here="0.5, in embeddings and blocks; attention weights have none",
            why="torch's fused attention draws from a state that no checkpoint holds",
            settings={"dropout": 0.5},
        ),
        Fact(
            what="optimiser and batch",
            says=f"Adam, rate 0.001, batches of 128 users (IV); no decay of embeddings by default ({_CODE})",
            here="the same: 128 clicks a batch, and up to 6400 clicks of their readers' histories",
            settings={"learning_rate": 1e-3, "weight_decay": 0.0, "batch_clicks": 128, "sequence_clicks": 6400},
        ),
        *_items(50),
        CLICKS,
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={
        "dim": 16,
        "article_buckets": 2048,
        "article_dim": 8,
        "dropout": 0.2,
        "batch_clicks": 256,
        "sequence_clicks": 256,
        **FEEDGYM_OPTIMISER,
    },
)
BERT4REC = System(
    description="transformer that sees both sides, trained to guess masked clicks",
    source="Sun et al., CIKM 2019",
    learner="contrastive",
    facts=(
        Fact(
            what="encoder",
            says=f"2 layers, 2 heads, 64 numbers, inner layers of 256 with GELU (4.3; {_CODE}, bert_config_*_64.json)",
            here="the same; a norm before each part, not after it",
            why="it trains without warming up",
            settings={"encoder": "bert4rec", "layers": 2, "heads": 2, "dim": 64, "history_columns": False},
        ),
        Fact(
            what="loss",
            says="softmax over all items at masked places; some examples mask the newest only, as when serving (3.6)",
            here="softmax over all live articles and the batch's: of masked clicks, and of the click that is logged "
            "next",
            why="articles that are gone are never served, and would be most of the sum",
            settings={"loss": "full_softmax", "sequence_loss": "full_softmax", "sequence_weight": 1.0},
        ),
        Fact(
            what="masking",
            says="0.6 of Beauty, 0.4 of Steam, 0.2 of MovieLens (4.3)",
            here="0.6: of those sets' histories Beauty's are the shortest",
            settings={"mask_rate": 0.6},
        ),
        Fact(
            what="length",
            says="200 of MovieLens, 50 of the other sets (4.3)",
            here="50, at most as many as the site keeps",
            settings={"history_clicks": 50},
        ),
        Fact(
            what="dropout",
            says=f"0.2 ({_CODE})",
            here="0.2; attention weights have none",
            why="torch's fused attention draws from a state that no checkpoint holds",
            settings={"dropout": 0.2},
        ),
        Fact(
            what="optimiser and batch",
            says="Adam, rate 1e-4 with warming up and linear decay, weight decay 0.01, gradients clipped at 5, "
            "batches of "
            "256 (4.3)",
            here="the same without warming up and decay of the rate; 256 clicks a batch, their histories' masked ones",
            why="training goes on with the site: there is no last step",
            settings={
                "learning_rate": 1e-4,
                "weight_decay": 0.01,
                "gradient_clip": 5.0,
                "batch_clicks": 256,
                "sequence_clicks": 7680,
            },
        ),
        Fact(
            what="output",
            says="a layer with GELU, then the table of items with a bias each (3.5)",
            here="the user tower's linear layer; the bias is that of the item encoder",
            why="the state is joined by the reader's columns before it",
        ),
        *_items(64),
        CLICKS,
        age("linear"),
        slates(8.0),
        LIVE,
        NOTHING_GIVEN,
        COLUMNS,
    ),
    small={
        "dim": 16,
        "article_buckets": 2048,
        "article_dim": 8,
        "mask_rate": 0.2,
        "sequence_clicks": 256,
        "gradient_clip": None,
        **FEEDGYM_OPTIMISER,
    },
)
