"""Whole recipes of the filters that work on embeddings: two CLIPs, negCLIPLoss, NormSim, soft-cap
sampling."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.toy.sample_pool import make_pool
from operators.negcliploss import neg_clip_loss
from pipeline.decide.decide import decide
from pipeline.export.subset import read_subset, subset_uids, write_subset
from pipeline.plan.session import Session
from pipeline.recipe.load import parse
from pipeline.run.compute import compute
from pipeline.run.executor import LocalExecutor
from tests.support.tiny_clip import TINY

BOTH = {"image_embedding": "clip.image_embedding", "text_embedding": "clip.text_embedding"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two shards of the sample pool, and proxies."""
    folder = tmp_path_factory.mktemp("filters")
    make_pool(folder / "pool", shards=2, per_shard=40, seed=3, image_size=64)
    np.save(folder / "target.npy", np.random.default_rng(0).standard_normal((9, 32)))
    return folder


def session(folder: Path, store: str, compute_, **more) -> Session:
    made = {
        "pool": {"shards": f"{folder}/pool/*.tar", "store": str(folder / store)},
        "compute": compute_,
        **more,
    }
    opened = Session.open(parse({"name": "test", **made}))
    opened = compute(opened, LocalExecutor()).session
    return opened


def columns(opened: Session, operator: str) -> pl.DataFrame:
    folder = opened.folder(operator)
    return pl.concat(opened.store.read(f"{folder}/{shard.name}.parquet") for shard in opened.shards)


def uids(opened: Session) -> list[str]:
    return [
        uid for shard in opened.shards for uid in opened.store.read(f"samples/{shard.name}.parquet")["uid"]
    ]


def test_dfn_is_the_clip_score_of_another_checkpoint(folder, tiny_clip, tmp_path):
    """Two CLIPs in one recipe, each with its own weights and key; the rule follows the second."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = open_clip.CLIP(**{k: TINY[k] for k in ("embed_dim", "vision_cfg", "text_cfg")})
    save_file(model.state_dict(), tmp_path / "dfn.safetensors")
    clip = {"use": "clip.ClipScore", "model": tiny_clip.config, "pretrained": tiny_clip.weights}
    dfn = {**clip, "pretrained": str(tmp_path / "dfn.safetensors")}
    opened = session(folder, "dfn", {"clip": clip, "dfn": dfn}, keep={"dfn.score": {"top": 0.15}})
    scores = {name: columns(opened, name)[f"{name}.score"] for name in ("clip", "dfn")}
    known = scores["dfn"].drop_nulls()
    assert opened.keys["clip"] != opened.keys["dfn"]
    assert abs(np.corrcoef(known, scores["clip"].drop_nulls())[0, 1]) < 0.9
    alone = session(folder, "alone", {"only": dfn})
    assert columns(alone, "only")["only.score"].equals(scores["dfn"])
    count = int(np.ceil(0.15 * len(known)))
    assert decide(opened).kept == count
    kept = pl.concat(opened.store.kept(opened.decisions, shard.name) for shard in opened.shards)
    assert scores["dfn"].filter(kept).sort().equals(known.sort()[-count:])


def test_a_recipe_of_all(folder, tiny_clip, tmp_path):
    compute_ = {
        "clip": {"use": "clip.ClipScore", "model": tiny_clip.config, "pretrained": tiny_clip.weights},
        "reference": {"use": "negcliploss.Reference", "batches": 1, "batch_size": 100, **BOTH},
        "ncl": {"use": "negcliploss.NegClipLoss", "reference": "reference", **BOTH},
        "norm": {
            "use": "normsim.NormSim",
            "image_embedding": "clip.image_embedding",
            "proxy": str(folder / "target.npy"),
        },
        "scores": {"use": "softcap.ScoreCount", "logit": "ncl.score"},
        "sampled": {
            "use": "softcap.Repeats",
            "logit": "ncl.score",
            "scores": "scores",
            "draws": 200,
            "temperature": 0.01,
        },
    }
    keep = {"norm.score": {"top": 0.5}, "sampled.repeats": {"min": 1}}
    export = {"subset": str(tmp_path / "subset.npy"), "repeats": "sampled.repeats"}
    opened = session(folder, "all", compute_, keep=keep, export=export)
    found = columns(opened, "ncl").with_columns(
        columns(opened, "norm")["norm.score"], columns(opened, "sampled")["sampled.repeats"]
    )
    clip = columns(opened, "clip")
    known = (
        clip["clip.image_embedding"].is_not_null() & clip["clip.text_embedding"].is_not_null()
    ).to_numpy()
    image, text = (
        clip[f"clip.{side}_embedding"].filter(known).to_numpy().astype(np.float64)
        for side in ("image", "text")
    )
    image, text = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (image, text))
    all_uids = uids(opened)
    if (
        len(set(np.array(all_uids)[known])) == known.sum()
    ):  # one batch, which is the pool: the paper's own form
        np.testing.assert_allclose(
            found["ncl.score"].filter(known), neg_clip_loss(image, text, 0.01), atol=2e-6
        )
    assert found["ncl.score"].is_null().to_list() == (~known).tolist()
    reasons = found["ncl.error"].filter(~pl.Series(known))
    assert reasons.null_count() == 0  # the engine takes them from the CLIP's
    decide(opened)
    written = write_subset(opened)
    times = dict.fromkeys(all_uids, 0)
    cut = (
        found["norm.score"]
        .drop_nulls()
        .sort(descending=True)[int(np.ceil(found["norm.score"].count() / 2)) - 1]
    )
    for uid, score, repeats in zip(all_uids, found["norm.score"], found["sampled.repeats"], strict=True):
        if score is not None and score >= cut and repeats:
            times[uid] += repeats
    expected = sorted(uid for uid, count in times.items() for _ in range(count))
    assert subset_uids(read_subset(written.path)) == expected
    assert max(times.values()) > 1
    assert abs(found["sampled.repeats"].sum() - 200) < 25
    about = json.loads(opened.store.root.read(f"{opened.folder('norm')}/meta.json"))
    assert set(about["fields"]["proxy"]) == {"content"}
