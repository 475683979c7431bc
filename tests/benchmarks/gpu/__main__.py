"""What a GPU gives: does it compute what a CPU does, and how fast is each part and the whole image pass?

    make gpu                                                     # or, without the Makefile:
    python -m tests.benchmarks.gpu [--models B/32 L/14] [--photos FOLDER] [--out FOLDER] [--seconds 6]

Needs torch, torchvision, open_clip_torch and Winnow's own imports; not Ray, and not a network: the weights
are random. Without a CUDA device it says so and runs on the CPU with a tiny model, so that every line but the
CUDA calls has run. It prints one JSON object and a table in Markdown for RESULTS.md, and with --out writes
both there as it goes.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipeline.operator import Device
from tests.benchmarks.gpu import agreement, rates
from tests.benchmarks.gpu.machine import Machine
from tests.benchmarks.gpu.made import (
    MODELS,
    PHOTOS,
    TRAINED,
    Clip,
    enlarged,
    photo_tars,
    pictures_of,
    random_clip,
    recipe,
    tar_of,
)
from tests.benchmarks.gpu.report import in_words, markdown

SIDE = 1024  # pixels of the longer side of larger photos
LARGER = ("L/14", "tiny")  # the models for which these are measured, too
MOST = 12_000  # samples of a pool
SELF_TEST = 200  # samples of a pass: more than one batch
LOOKED_AT = 500  # samples whose scores are compared


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a folder of tars of photos")
    parser.add_argument("--out", type=Path, help="a folder for results.json and results.md")
    parser.add_argument("--seconds", type=float, default=6, help="about how long each rate is measured")
    args = parser.parse_args()
    machine = Machine()
    if not machine.has_gpu:
        print("No CUDA device: a self-test on the CPU with a tiny model.", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        found = measured(args, machine, Path(folder))
    print(json.dumps(found, indent=1))
    print(markdown(found))


def measured(args: argparse.Namespace, machine: Machine, folder: Path) -> dict[str, Any]:
    """Every figure, under the names that `report.markdown` reads."""
    found: dict[str, Any] = {"machine": machine.facts(), "models": {}}
    tar = photo_tars(args.photos, folder / "one", 1)[0]
    samples = pictures_of(tar)[:LOOKED_AT]
    trained = Clip(f"{TRAINED}.json", f"{TRAINED}.safetensors")
    if TRAINED.with_suffix(".safetensors").exists():
        found["device decode, trained"] = agreement.device_decode(trained, samples, machine)
        found["fast, trained"] = agreement.fast_against_exact(trained, samples, machine)
        found["bf16, trained"] = agreement.bf16_against_fp32(trained, samples, machine)
    found["OCR"] = agreement.text_in_images(samples[:100], machine)
    found["FAISS"] = agreement.faiss_neighbours(machine)
    for label in args.models if machine.has_gpu else ["tiny"]:
        started = time.perf_counter()
        found["models"][label] = of_model(label, args, machine, folder, samples)
        found["models"][label]["took"] = time.perf_counter() - started
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / "results.json").write_text(json.dumps(found, indent=1))
            (args.out / "results.md").write_text(markdown(found))
    return found


def of_model(
    label: str, args: argparse.Namespace, machine: Machine, folder: Path, samples: agreement.Samples
) -> dict[str, Any]:
    """The figures of one model."""
    import torch

    from operators.algorithms.clip.model import load

    clip = random_clip(MODELS.get(label, label), folder, machine.device)
    with torch.device(machine.device):  # random numbers for a billion weights take a CPU half a minute
        model = load(clip.config, clip.weights, Device(machine.device, machine.threads))
    size = model.net.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    found: dict[str, Any] = {"forward": rates.forward(model, size, machine)}
    print(f"{label}, forward: {in_words(found['forward'])}", flush=True)
    rows = max(model.chunk, int(found["forward"]["both"] * args.seconds)) if machine.has_gpu else SELF_TEST
    rows = min(rows, MOST)
    found["device decode"] = rates.with_device_decode(model, samples, machine, rows)
    print(f"{label}, device decode: {in_words(found['device decode'])}", flush=True)
    pool = photo_tars(args.photos, rates.emptied(folder / "pool"), rows)
    pools = {"": pool}
    if label in LARGER:
        larger = enlarged(samples, SIDE, machine.threads)
        (folder / "larger").mkdir(exist_ok=True)
        tar_of(larger, folder / "larger" / "0.tar")
        pools[f", {SIDE} px"] = photo_tars(folder / "larger", rates.emptied(folder / "large"), rows // 2)
    for suffix, tars in pools.items():
        for way, by_pillow in (("exact", False), ("exact", True), ("fast", False)):
            store = rates.emptied(folder / "store")
            made = recipe(tars, store, clip, int(machine.has_gpu), preprocess=way)
            name = f"{way}{', resized by Pillow' if by_pillow else ''}{suffix}"
            with patch.object(model, "resizes", model.resizes and not by_pillow):  # the pass shares the model
                there = model.resizes or (model.ahead and way == "fast")
                found[name] = rates.whole_pass(made, machine) | {"resized on the device": there}
            print(f"{label}, {name}: {in_words(found[name])}", flush=True)
    if label in (args.models[0], "tiny"):
        rates.emptied(folder / "store")
        found["parts"] = rates.parts(model, samples, machine) | {"read, 1 thread": rates.reading(made)}
        print(f"{label}, parts: {in_words(found['parts'])}", flush=True)
    found["fast against exact"] = agreement.fast_against_exact(clip, samples, machine)
    found["bf16"] = agreement.bf16_against_fp32(clip, samples, machine)
    del model
    for path in (clip.config, clip.weights):
        Path(path).unlink()
    return found


def _memory() -> str | None:
    """A folder in memory, if there is one: the disk is not what is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


if __name__ == "__main__":
    main()
