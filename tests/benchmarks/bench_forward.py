"""The forward pass on a CPU: open_clip's towers as Winnow calls them, as a loop does, and by other runtimes.

    PYTHONPATH=. python tests/benchmarks/bench_forward.py [--model ViT-B-32] [--samples 48] [--rounds 2]
        [--compile] [--openvino PACKAGES]

CPU seconds of one thread, which a busy machine changes less; the ways take turns, and the quickest round of
each counts. Photos and captions are real, weights random. The loop has 32 samples per batch; differences are
of scores, from the loop's. bf16 is quick only where the processor multiplies it (avx512_bf16, amx_bf16).
`--compile` takes a C++ compiler, and minutes. PACKAGES: a folder made with `pip install --no-deps --target`:
openvino, onnx, onnxscript, onnx_ir, ml_dtypes; it adds ONNX Runtime and OpenVINO.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from operators.algorithms.clip.model import ClipModel, unit
from pipeline.operator import Device
from pipeline.run.decode import decode
from tests.benchmarks.bench_clip import SHARED, checkpoint
from tests.benchmarks.gpu.made import pictures_of

Encode = Callable[[Any], np.ndarray]
CHUNK = 16  # rows per call of the compiled networks


def in_batches(encode: Callable[[Any], Any], rows: int) -> Encode:
    """All rows of a tensor, so many at a time."""

    def encoded(batch: Any) -> np.ndarray:
        with torch.no_grad():
            return torch.cat([torch.as_tensor(encode(part)).float() for part in batch.split(rows)]).numpy()

    return encoded


def exported(net: Any, examples: dict[str, Any], folder: Path) -> dict[str, str]:
    """ONNX files of both towers, by the name of the method."""
    paths = {}
    for name, example in examples.items():
        tower = torch.nn.Module()
        tower.net = net
        tower.forward = getattr(net, name)
        paths[name] = str(folder / f"{name}.onnx")
        with torch.no_grad():
            torch.onnx.export(tower.eval(), (example,), paths[name], dynamo=True, input_names=["x"])
    return paths


def by_onnxruntime(path: str) -> Callable[[Any], Any]:
    """One thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {"x": batch.numpy()})[0]


def by_openvino(path: str, precision: str) -> Callable[[Any], Any]:
    """One thread."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(path), "CPU", settings)
    return lambda batch: compiled([batch.numpy()])[0].copy()


def main() -> None:
    """Time every way and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--samples", type=int, default=48, help="a multiple of 16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--openvino", metavar="PACKAGES")
    args = parser.parse_args()
    import open_clip

    torch.set_num_threads(1)
    samples = pictures_of(sorted(SHARED.glob("*.tar"))[0])[: args.samples]
    with tempfile.TemporaryDirectory() as temporary:
        weights = checkpoint(args.model, Path(temporary))
        ours = ClipModel(args.model, weights, Device("cpu", threads=1))
        net, _, transform = open_clip.create_model_and_transforms(args.model, pretrained=weights)
        half = open_clip.create_model(args.model, pretrained=weights, precision="bf16")
        net.eval(), half.eval()
        images = [decode(jpeg)[0] for jpeg, _ in samples]
        captions = [caption for _, caption in samples]
        pixels = torch.stack([transform(Image.fromarray(image)) for image in images if image is not None])
        tokens = ours.captions(captions)[0]
        ways: dict[str, tuple[Encode, Encode]] = {
            "open_clip, fp32, a loop": (in_batches(net.encode_image, 32), in_batches(net.encode_text, 32)),
            "winnow": (
                lambda _: ours._in_chunks(
                    pixels, lambda part: ours._forward(ours.net.encode_image, part, ours.chunk)
                ),
                lambda _: ours.texts(captions)[0],
            ),
            "torch, bf16": (
                in_batches(lambda part: half.encode_image(part.bfloat16()), CHUNK),
                in_batches(half.encode_text, CHUNK),
            ),
        }
        if args.compile:
            import torch._inductor.config as inductor

            inductor.freezing = True
            towers = (torch.compile(net.encode_image), torch.compile(net.encode_text))
            ways["torch.compile, fp32, frozen"] = (in_batches(towers[0], CHUNK), in_batches(towers[1], CHUNK))
        if args.openvino:
            sys.path.insert(0, args.openvino)
            examples = {"encode_image": pixels[:CHUNK], "encode_text": tokens[:CHUNK]}
            paths = list(exported(net, examples, Path(temporary)).values())
            ways["ONNX Runtime, fp32"] = tuple(in_batches(by_onnxruntime(p), CHUNK) for p in paths)  # type: ignore[assignment]
            for kind, precision in (("fp32", "f32"), ("bf16", "bf16")):
                made = tuple(in_batches(by_openvino(p, precision), CHUNK) for p in paths)
                ways[f"OpenVINO, {kind}"] = made  # type: ignore[assignment]
        compare(ways, pixels, tokens, args.rounds)


def compare(ways: dict[str, tuple[Encode, Encode]], pixels: Any, tokens: Any, rounds: int) -> None:
    """Print the table. A first round does not count: it compiles, and packs weights."""
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    scores = {}
    for _ in range(rounds + 1):
        for way, (encode_images, encode_texts) in ways.items():
            times = [time.process_time()]
            image = encode_images(pixels)
            times.append(time.process_time())
            text = encode_texts(tokens)
            times.append(time.process_time())
            spent[way].append((times[1] - times[0], times[2] - times[1]))
            scores[way] = (unit(image) * unit(text)).sum(1)
    quickest = {way: np.min(times[1:], axis=0) for way, times in spent.items()}
    loop, *_ = quickest.values()
    expected, *_ = scores.values()
    print(
        "| way | image tower | text tower | both | score difference, mean | largest |\n|---|---|---|---|---|---|"
    )
    for way, times in quickest.items():
        image, text = loop / times
        apart = np.abs(scores[way] - expected)
        print(
            f"| {way} | {image:.2f} | {text:.2f} | {loop.sum() / times.sum():.2f} | {apart.mean():.1e} | "
            f"{apart.max():.1e} |"
        )
    print(f"\n{len(pixels)} samples: the loop takes {loop[0]:.2f} + {loop[1]:.2f} CPU seconds.")


if __name__ == "__main__":
    main()
