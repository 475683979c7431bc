"""Whether a GPU computes what a CPU does: scores in bf16, pictures that the device decodes, OCR, FAISS."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from operators.algorithms.clip.model import load
from operators.algorithms.clip.resample import Frame
from operators.algorithms.embeddings.neighbours import Points
from operators.clip import ClipScore
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.benchmarks.gpu.machine import Machine
from tests.benchmarks.gpu.made import Clip

KEPT = 0.3  # of the samples, in the cut
POINTS, NEAREST = 3000, 16
Samples = Sequence[tuple[bytes, str]]


def bf16_against_fp32(clip: Clip, samples: Samples, machine: Machine) -> dict[str, float]:
    """Scores of ClipScore with `precision: bfloat16`, and with `float32`, both on the device."""
    return _drift_of(clip, samples, machine, {"precision": "bfloat16"}, {"precision": "float32"})


def fast_against_exact(clip: Clip, samples: Samples, machine: Machine) -> dict[str, float]:
    """Scores of ClipScore with `preprocess: fast`, and as it is by default, both on the device."""
    return _drift_of(clip, samples, machine, {"preprocess": "fast"}, {"preprocess": "exact"})


def _drift_of(clip: Clip, samples: Samples, machine: Machine, *fields: dict[str, Any]) -> dict[str, float]:
    """How far scores with the first fields drift from those with the second."""
    captions = pl.DataFrame({"text": [caption for _, caption in samples]})
    images = [decode(jpeg)[0] for jpeg, _ in samples]
    found = []
    for more in fields:
        operator = ClipScore(model=clip.config, pretrained=clip.weights, **more)
        operator.setup({}, Device(machine.device, machine.threads))
        found.append(operator.score(captions, images)["score"].to_numpy())
    return drift(*found)


def device_decode(clip: Clip, samples: Samples, machine: Machine) -> dict[str, float]:
    """Pixels and scores of pictures that the device decodes and resizes, against the CPU's."""
    model = load(clip.config, clip.weights, Device(machine.device, machine.threads))
    images = [pixels for pixels in (decode(jpeg)[0] for jpeg, _ in samples) if pixels is not None]
    prepared = np.stack([model.head(image) for image in images])
    found = on_device([jpeg for jpeg, _ in samples], prepared.shape[1], machine).cpu().numpy()
    off = np.abs(found.astype(np.int16) - prepared)
    texts = model.texts([caption for _, caption in samples])[0]
    encode = model.net.encode_image
    scores, exact = (
        _cosine(
            np.concatenate([model._forward(encode, part, model.chunk) for part in _inputs(model, p)]), texts
        )
        for p in (found, prepared)
    )
    told = {"pixel_mean": float(off.mean()), "pixel_p999": float(np.quantile(off, 0.999))}
    return told | drift(scores, exact)


def _inputs(model: Any, prepared: np.ndarray) -> list[Any]:
    """Pictures of one size, (n, s, s, 3) uint8 -> what the network takes, chunk by chunk."""
    import torch

    chunks = (prepared[i : i + model.chunk] for i in range(0, len(prepared), model.chunk))
    return [model.tail(torch.from_numpy(chunk).to(model.device)).to(model.dtype) for chunk in chunks]


def on_device(jpegs: Sequence[bytes], size: int, machine: Machine) -> Any:
    """JPEGs -> (n, size, size, 3) uint8, decoded by the device's own decoder and resized there."""
    pictures = [pixels.permute(1, 2, 0) for pixels in decoded_on_device(jpegs, machine)]
    return Frame(size, crop=True)(pictures, machine.device)


def decoded_on_device(jpegs: Sequence[bytes], machine: Machine) -> Sequence[Any]:
    """n JPEGs -> (3, h, w) uint8 tensors on the device."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg

    data = [torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in jpegs]
    found: Sequence[Any] = decode_jpeg(data, mode=ImageReadMode.RGB, device=machine.device)
    return found


def drift(scores: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """How far scores are from the exact ones: mean and 99.9th percentile of the difference, rank correlation,
    the share of samples on the other side of a top-30 % cut, and the exact scores' own spread."""
    off = np.abs(scores - exact)
    ranks = [np.argsort(np.argsort(values)) for values in (scores, exact)]
    kept = [values >= np.quantile(values, 1 - KEPT) for values in (scores, exact)]
    return {
        "mean": float(off.mean()),
        "p999": float(np.quantile(off, 0.999)),
        "spread": float(exact.std()),
        "rank_correlation": float(np.corrcoef(*ranks)[0, 1]),
        "cut_changes": float((kept[0] != kept[1]).mean()),
    }


def _cosine(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n,) cosine of rows."""
    product: np.ndarray = (images * texts).sum(1)
    return product / np.linalg.norm(images, axis=1) / np.linalg.norm(texts, axis=1)


def text_in_images(samples: Samples, machine: Machine) -> dict[str, Any]:
    """Boxes and words by OCR on the device against the CPU's, if ONNX Runtime has CUDA here."""
    try:
        import onnxruntime
        import rapidocr  # noqa: F401
    except ImportError as error:
        return {"skipped": str(error)}
    if machine.has_gpu and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return {"skipped": "this onnxruntime has no CUDA"}
    from operators.text import TextBoxes

    images = [decode(jpeg)[0] for jpeg, _ in samples]
    rows = pl.DataFrame({"row": range(len(images))})
    results = []
    for device in (machine.device, "cpu"):
        operator = TextBoxes()
        operator.setup({}, Device(device, machine.threads))
        results.append(operator.score(rows, images))
    words = [sum(len(row) for row in result["words"].to_list()) for result in results]
    equal = float((results[0]["words"] == results[1]["words"]).mean() or 0)
    return {"words": words[0], "words_on_cpu": words[1], "equal_rows": equal}


def faiss_neighbours(machine: Machine) -> dict[str, Any]:
    """The nearest neighbours of FAISS on the device against the CPU's."""
    try:
        import faiss
    except ImportError as error:
        return {"skipped": str(error)}
    if machine.has_gpu and not getattr(faiss, "get_num_gpus", lambda: 0)():
        return {"skipped": "this faiss has no GPU"}
    vectors = np.random.default_rng(0).normal(size=(POINTS, 64)).astype(np.float32)
    own = np.arange(POINTS)
    found = [
        Points(vectors, own, Device(name, machine.threads)).nearest(vectors, own, NEAREST)[1]
        for name in (machine.device, "cpu")
    ]
    return {"equal": float((found[0] == found[1]).mean())}
