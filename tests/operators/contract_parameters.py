"""Parameters of every operator under contract: those it is tried with, and another valid value of each field.

A new operator needs one entry in PARAMETERS and, if it has fields, one in CHANGES.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support.samples import uid
from tests.support.tiny_clip import TinyClip
from tests.support.tiny_wordnet import write_wordnet

WIDTH = 32  # numbers of an embedding
ROWS = 37  # more than one chunk of a model, and no multiple of one

BALANCE = {"entries": "entries.ids", "counts": "counts", "languages": "at.language"}
BOTH = {"image_embedding": "clip.image_embedding", "text_embedding": "clip.text_embedding"}
OTHER_BOTH = {"image_embedding": "other.image_embedding", "text_embedding": "other.text_embedding"}
DIGITS = {"image_embedding": "clip.image_embedding", "plain": "clip.score"}
FIGURES = {"words": "text.words", "rate": "parrot.rate", "fuzzy_rate": "parrot.fuzzy_rate"}
MASKED = {"boxes": "text.boxes", "text_embedding": "clip.text_embedding"}
REFERENCE = {"embedding": "clip.image_embedding", "normalise": True, "size": 9, "k": 3, "draws": 2}
OUTLIER = {"embedding": "clip.image_embedding", "reference": "reference"}
OTHER_OUTLIER = {"embedding": "other.image_embedding", "reference": "other", "norm": "clip.score"}
OTHER_BALANCE = {"entries": "other.ids", "counts": "others", "languages": "other.language"}


def lists(clip: TinyClip) -> dict[str, str]:
    """Two metadata lists, beside the checkpoint."""
    path = Path(clip.config).with_name("entries.txt")
    path.write_text("dog\nbeach\na\n狗\n", encoding="utf-8")
    return {"en": str(path), "other": str(path)}


def head(clip: TinyClip) -> str:
    """A linear head, beside the checkpoint."""
    path = Path(clip.config).with_name("head.safetensors")
    save_file({"weight": torch.ones(1, WIDTH), "bias": torch.ones(1)}, path)
    return str(path)


def proxies(clip: TinyClip) -> str:
    """Embeddings of a target, beside the checkpoint."""
    path = Path(clip.config).with_name("proxies.npy")
    np.save(path, np.random.default_rng(0).standard_normal((5, WIDTH)).astype(np.float16))
    return str(path)


def subset(clip: TinyClip) -> str:
    """A subset file that asks for every other sample, beside the checkpoint."""
    path = Path(clip.config).with_name("subset.npy")
    rows = [divmod(int(uid("s", row), 16), 2**64) for row in range(0, ROWS, 2)]
    np.save(path, np.sort(np.array(rows, "u8,u8")))
    return str(path)


def clusters(clip: TinyClip) -> dict[str, str]:
    """Centroids, and embeddings near two of them, beside the checkpoint."""
    folder, axes = Path(clip.config).parent, np.eye(WIDTH, dtype=np.float32)
    np.save(folder / "centroids.npy", axes[:7])
    np.save(folder / "targets.npy", axes[[1, 1, 4]])
    return {"centroids": str(folder / "centroids.npy"), "targets": str(folder / "targets.npy")}


def entities(clip: TinyClip) -> dict[str, str]:
    """A WordNet, and ids of its dog and its beach, beside the checkpoint."""
    folder = write_wordnet(Path(clip.config).with_name("wordnet"))
    (folder / "ids.txt").write_text("n02084071\nn09217230\n")
    return {"wordnet": str(folder), "ids": str(folder / "ids.txt")}


Parameters = Callable[[TinyClip], dict[str, Any]]
PARAMETERS: Mapping[str, Parameters] = {
    "aesthetic.AestheticScore": lambda clip: {
        "image_embedding": "clip.image_embedding",
        "weights": head(clip),
    },
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
    "softcap.ScoreCount": lambda clip: {"logit": "clip.score"},
    "softcap.Repeats": lambda clip: {"logit": "clip.score", "scores": "score_counts", "draws": 60},
    "subset.Copies": lambda clip: {"file": subset(clip)},
    "datacomp.Facts": lambda clip: {},
    "datacomp.Language": lambda clip: {},
    "datacomp.NearestCentroid": lambda clip: {"embedding": "clip.image_embedding", **clusters(clip)},
    "datacomp.TextEntity": lambda clip: entities(clip),
    "digits.NumberFreeScore": lambda clip: {**DIGITS, "model": clip.config, "pretrained": clip.weights},
    "outliers.Reference": lambda clip: REFERENCE,
    "outliers.KDistance": lambda clip: OUTLIER,
    "outliers.Slof": lambda clip: OUTLIER,
    "outliers.Lid": lambda clip: OUTLIER,
    "outliers.Dao": lambda clip: OUTLIER,
    "outliers.IsolationForest": lambda clip: {**OUTLIER, "trees": 10},
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
CHANGES: Mapping[str, Mapping[str, Any]] = {  # another valid value for each field, or that and others' values
    "aesthetic.AestheticScore": {
        "image_embedding": "other.image_embedding",
        "weights": "other.pth",
        "activation": "relu",
    },
    "clip.ClipScore": {"model": "ViT-B-32", "pretrained": "openai", "preprocess": "fast"},
    "wfpp.WordFrequency": {"minimum_count": 3},
    "wfpp.WordFrequencyScore": {"frequency": "other", "t": 1e-3, "first": 20, "normalise": False},
    "metaclip.EntryMatch": {"metadata": {"en": ""}, "spacing": "worldwide", "languages": "other.language"},
    "metaclip.EntryCount": {"entries": "other.ids", "languages": "at.language"},
    "metaclip.BalanceProbability": {**OTHER_BALANCE, "t": 8.5, "tail_of": "en"},
    "metaclip.BalanceThreshold": {**OTHER_BALANCE, "seed": 1},
    "negcliploss.Reference": {**OTHER_BOTH, "batches": 2, "batch_size": 9, "seed": 1},
    "negcliploss.NegClipLoss": {**OTHER_BOTH, "reference": "others", "temperature": 0.07},
    "normsim.NormSim": {
        "image_embedding": "other.image_embedding",
        "proxy": {"a": "x.npy"},
        "array": "b32_img",
        "p": 2,
    },
    "softcap.ScoreCount": {"logit": "masked.score"},
    "softcap.Repeats": {
        "logit": "masked.score",
        "scores": "others",
        "draws": 61,
        "penalty": 0.2,
        "most": 15,
        "temperature": 0.01,
        "seed": 1,
    },
    "subset.Copies": {"file": "other.npy"},
    "datacomp.Language": {"detector": "gcld3", "model": "lid.176.bin"},
    "datacomp.NearestCentroid": {
        "embedding": "other.image_embedding",
        "centroids": "other.npy",
        "targets": {"a": "a.npy"},
    },
    "datacomp.TextEntity": {"wordnet": "/usr/share/wordnet", "ids": "other.txt"},
    "digits.NumberFreeScore": {
        "model": "ViT-B-32",
        "pretrained": "openai",
        "combine": "min",
        "image_embedding": "other.image_embedding",
        "plain": "other.score",
    },
    "outliers.Reference": {
        "embedding": "other.image_embedding",
        "normalise": False,
        "text_embedding": "clip.text_embedding",
        "norm": {"norm": "clip.image_norm", "normalise": False},
        "text_norm": {
            "text_norm": "clip.text_norm",
            "norm": "clip.image_norm",
            "normalise": False,
            "text_embedding": "clip.text_embedding",
        },
        "size": 10,
        "k": 4,
        "draws": 3,
        "seed": 1,
        "assumed_rate": 0.1,
    },
    **dict.fromkeys((f"outliers.{name}" for name in ("KDistance", "Slof", "Lid", "Dao")), OTHER_OUTLIER),
    "outliers.IsolationForest": {**OTHER_OUTLIER, "trees": 20, "seed": 1},
    "parrot.CoEmbeddedText": {"words": "other.words", "boxes": "other.boxes", "similarity": 0.5},
    "parrot.MaskEffect": {"plain": "other.score", "all": "other.masked", "co_embedded": ""},
    "parrot.TextFigures": {"words": "other.words", "rate": "other.rate", "fuzzy_rate": "other.fuzzy_rate"},
    "text.TextBoxes": {
        "side": 320,
        "enlarge": 2.0,
        "threshold": 0.5,
        "recognise": False,
        "confidence": 0.75,
    },
    "text.MaskedClipScore": {
        "model": "ViT-B-32",
        "pretrained": "openai",
        "boxes": "parrot.boxes",
        "text_embedding": "other.text_embedding",
        "plain": "clip.score",
        "fill": "telea",
        "preprocess": "fast",
        "ring": 0.2,
    },
    "planted.Length": {"scale": 3},
    "planted.Plus": {"of": "height", "by": 4},
    "planted.Frequency": {"of": "height", "table": "other"},
    "planted.Histogram": {"of": "height"},
}
