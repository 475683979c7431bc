"""Parameters that operators under contract are tried with. A new operator needs one entry here and, if it has
fields, one in contract_changes.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.operators.contract_files import (
    clusters,
    entities,
    hashes,
    head,
    lists,
    proxies,
    subset,
    two_vectors,
)
from tests.support.tiny_clip import TinyClip

BALANCE = {"entries": "entries.ids", "counts": "counts", "languages": "at.language"}
BOTH = {"image_embedding": "clip.image_embedding", "text_embedding": "clip.text_embedding"}
DIGITS = {"image_embedding": "clip.image_embedding", "plain": "clip.score"}
FIGURES = {"words": "text.words", "rate": "parrot.rate", "fuzzy_rate": "parrot.fuzzy_rate"}
MASKED = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding"}
REFERENCE = {"embedding": "clip.image_embedding", "normalise": True, "size": 9, "k": 3, "draws": 2}
OUTLIER = {"embedding": "clip.image_embedding", "reference": "reference"}
SEMANTIC = {
    "embedding": "clip.image_embedding",
    "cluster": "near.cluster",
    "similarity": "near.similarity",
}


Parameters = Callable[[TinyClip], dict[str, Any]]
PARAMETERS: Mapping[str, Parameters] = {
    "aesthetic.AestheticScore": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "weights": head(clip),
    },
    "mix.Standardised": lambda clip: {"scores": ["clip.score", "masked.score"]},
    "mix.Weighted": lambda clip: {
        "scores": ["clip.score", "masked.score"],
        "weights": [1, 2],
        "scales": "scales",
    },
    "ranking.Eligible": lambda clip: {
        "by": "clip.score",
        "bounds": {"masked.score": {"min": 0.1, "max": 0.6}, "at.language": {"among": ["en"]}},
    },
    "first_look.Probe": lambda clip: {
        "embedding": "clip.image_embedding",
        "found": "clip.score",
        "least": 0.3,
    },
    "first_look.Worthwhile": lambda clip: {"embedding": "clip.image_embedding", "probe": "probe"},
    "mix.Highest": lambda clip: {
        "scores": ["clip.score", "masked.score"],
        "weights": [1, -1],
        "scales": "scales",
        "by": "normal",
    },
    "hubs.Bank": lambda clip: {**BOTH, "size": 9},
    "hubs.Hubness": lambda clip: {"image_embedding": "clip.image_embedding", "bank": "bank"},
    "bias.Mentions": lambda clip: {"words": lists(clip)["en"]},
    "bias.Patterns": lambda clip: {"attributes": "near.cluster", "labels": ["clip.score", "masked.score"]},
    "bias.MomentMatching": lambda clip: {
        "attributes": "near.cluster",
        "labels": ["clip.score", "masked.score"],
        "patterns": "patterns",
        "rate": 0.1,
    },
    "nsfw.OpenNsfw": lambda clip: {},
    "content.Inappropriate": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "vectors": two_vectors(clip),
        "model": "tiny",
    },
    "heads.Linear": lambda clip: {"embedding": "clip.image_embedding", "weights": head(clip)},
    "caption.Caption": lambda clip: {},
    "clip.ClipScore": lambda clip: {"model": clip.config, "pretrained": clip.weights},
    "wfpp.WordFrequency": lambda clip: {"minimum_count": 2},
    "wfpp.WordFrequencyScore": lambda clip: {"frequency": "words"},
    "metaclip.EntryMatch": lambda clip: {"metadata": lists(clip), "languages": "at.language"},
    "metaclip.EntryCount": lambda clip: {"entries": "entries.ids"},
    "metaclip.BalanceProbability": lambda clip: {**BALANCE, "t": 9},
    "metaclip.BalanceThreshold": lambda clip: BALANCE,
    "negcliploss.Reference": lambda clip: {**BOTH, "batches": 3, "batch_size": 8},
    "negcliploss.NegClipLoss": lambda clip: {**BOTH, "reference": "batches"},
    "normsim.NormSim": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "proxy": proxies(clip),
        "p": "inf",
    },
    "search.Query": lambda clip: {
        "embedding": "clip.image_embedding",
        "texts": ["a dog", "a beach"],
        "not_texts": ["a"],
        "vectors": proxies(clip),
        "model": clip.config,
        "pretrained": clip.weights,
    },
    "softcap.ScoreCount": lambda clip: {"logit": "clip.score"},
    "softcap.Repeats": lambda clip: {"logit": "clip.score", "scores": "score_counts", "draws": 60},
    "subset.Copies": lambda clip: {"file": subset(clip)},
    "concepts.ZeroShot": lambda clip: {
        "model": clip.config,
        "pretrained": clip.weights,
        "names": lists(clip)["en"],
        **BOTH,
    },
    "clipcov.Cover": lambda clip: {**BOTH, "label": "near.cluster", "label_similarity": "clip.score"},
    "clusters.Centroids": lambda clip: {"embedding": "clip.image_embedding", "k": 5, "size": 30},
    "clusters.Nearest": lambda clip: {"embedding": "clip.image_embedding", "centroids": "centroids"},
    "clusters.Sizes": lambda clip: {"cluster": "near.cluster"},
    "clusters.Balance": lambda clip: {"cluster": "near.cluster", "sizes": "sizes", "target": 30, "cap": 2},
    "datacomp.Facts": lambda clip: {},
    "datacomp.Language": lambda clip: {},
    "datacomp.NearestCentroid": lambda clip: {"embedding": "clip.image_embedding", **clusters(clip)},
    "datacomp.TextEntity": lambda clip: entities(clip),
    "duplicates.ImageDigest": lambda clip: {},
    "duplicates.Exact": lambda clip: {"key": "text", "best": "clip.score", "ranks": 2},
    "duplicates.Semantic": lambda clip: {**SEMANTIC, "limit": 200},
    "digits.NumberFreeScore": lambda clip: {**DIGITS, "model": clip.config, "pretrained": clip.weights},
    "recaption.BestCaption": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "model": clip.config,
        "pretrained": clip.weights,
    },
    "recaption.RefClipScore": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "model": clip.config,
        "pretrained": clip.weights,
    },
    "outliers.Reference": lambda clip: REFERENCE,
    "outliers.KDistance": lambda clip: OUTLIER,
    "outliers.Slof": lambda clip: OUTLIER,
    "outliers.Lid": lambda clip: OUTLIER,
    "outliers.Dao": lambda clip: OUTLIER,
    "outliers.IsolationForest": lambda clip: {**OUTLIER, "trees": 10},
    "pdq.PdqHash": lambda clip: {},
    "perceptual.Bands": lambda clip: {"hash": "pdq.hash", "rank": "equal.rank"},
    "perceptual.Neighbours": lambda clip: {"hash": "pdq.hash", "bands": "bands.bands", "best": "clip.score"},
    "perceptual.Leaders": lambda clip: {"neighbours": "near.neighbours", "distances": "near.distances"},
    "perceptual.Copies": lambda clip: {"hash": "pdq.hash", "leaders": "leaders", "first": "equal.first"},
    "lists.Listed": lambda clip: {"column": "text", "file": lists(clip)["en"]},
    "lists.NearestHash": lambda clip: {"hash": "pdq.hash", "file": hashes(clip)},
    "parrot.CoEmbeddedText": lambda clip: {"words": "text.words", "boxes": "text.boxes"},
    "parrot.MaskEffect": lambda clip: {
        "plain": "clip.score",
        "all": "masked.score",
        "co_embedded": "co.score",
    },
    "parrot.TextFigures": lambda clip: FIGURES,
    "text.TextBoxes": lambda clip: {},
    "text.MaskedClipScore": lambda clip: {"model": clip.config, "pretrained": clip.weights, **MASKED},
    "planted.Length": lambda clip: {"scale": 2},
    "planted.Plus": lambda clip: {"of": "width", "by": 3},
    "planted.Frequency": lambda clip: {"of": "width", "table": "table"},
    "planted.Brightness": lambda clip: {},
    "planted.Redness": lambda clip: {},
    "planted.Histogram": lambda clip: {"of": "width"},
}
