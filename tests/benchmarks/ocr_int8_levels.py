"""Measures what int8 must know of the OCR networks' layers, and writes operators/data/ocr_int8.safetensors.

    python tests/benchmarks/ocr_int8_levels.py [--pictures 32] [--out operators/data/ocr_int8.safetensors]

On the first photos of the third shard, half of them with words drawn into them: for the input of each layer,
the least and the greatest value on average over the pictures, and the mean of each channel; before that, the
values of the detectors' gates, on average over the pictures. The recogniser's are measured on the lines that
are found in the same photos. Tests and benchmarks use other photos.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from bench_text import lemmas, photos, rendered
from blake3 import blake3
from openvino import opset13
from safetensors.numpy import save_file

from operators.algorithms.ocr.int8 import DETECTORS, LAYERS, LEVELS, prepared
from operators.algorithms.ocr.lines import WIDEST, TextReader, padded, strip
from operators.algorithms.ocr.looks import CLOSER, GLANCE, scaled, sharpened, standard
from operators.algorithms.ocr.networks import path_of
from pipeline.operator import Device

FLOAT = ("Conv.54", "Conv.55", "Conv.56")  # of the recogniser's head: small, and worse in integers
LETTERS = "MatMul.12"  # the recogniser's last layer
LINES = 48


def layers(name: str, model: Any) -> list[Any]:
    """The layers that see the whole picture or line. Gates, which see its mean, are small."""
    return [
        node
        for node in model.get_ordered_ops()
        if node.get_type_name() in LAYERS
        if (node.get_type_name() == "MatMul") == (node.get_friendly_name() == LETTERS)
        if name in DETECTORS or node.get_friendly_name() not in FLOAT
        if node.get_output_partial_shape(0)[3 if node.get_type_name() != "MatMul" else 1].is_dynamic
    ]


def values(model: Any, outputs: Sequence[Any], inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What these outputs of a model are, on average over the inputs."""
    watched = openvino.Model([opset13.result(output) for output in outputs], model.get_parameters(), "")
    exact = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(watched, "CPU", exact).create_infer_request()
    seen = [[np.array(value) for value in request.infer([item[None]]).values()] for item in inputs]
    return [np.mean([one[n] for one in seen], 0, dtype=np.float64) for n in range(len(outputs))]


def gates(name: str, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The values of a detector's gates, by `<gate>`, for channels with the means that they have on average
    over the inputs. The average of the gates instead lets through more: precision falls from .82 to .63."""
    model = prepared(name, path_of(name), {})
    pooled = [node for node in model.get_ordered_ops() if node.get_type_name() == "ReduceMean"]
    means = values(model, [node.output(0) for node in pooled], inputs)
    for node, mean in zip(pooled, means, strict=True):
        constant = opset13.constant(mean.astype(np.float32)).output(0)
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(constant)
    made = [node for node in model.get_ordered_ops() if node.get_type_name() == "HardSigmoid"]
    found = values(model, [node.output(0) for node in made], inputs[:1])
    return {
        node.get_friendly_name(): gate.ravel().astype(np.float32)
        for node, gate in zip(made, found, strict=True)
    }


def statistics(name: str, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of a network, by `<network>/<layer>/ends`, `.../mean` and, for its gates, `.../gate`."""
    fixed = gates(name, inputs) if name in DETECTORS else {}
    model = prepared(name, path_of(name), {gate: {"gate": value} for gate, value in fixed.items()})
    nodes, outputs = layers(name, model), []
    for node in nodes:
        source = node.input_value(0)
        convolution = node.get_type_name() != "MatMul"
        every, inner = ([0, 1, 2, 3], [0, 2, 3]) if convolution else ([0, 1, 2], [0, 1])
        outputs += [
            opset13.reduce_min(source, np.array(every)),
            opset13.reduce_max(source, np.array(every)),
            opset13.reduce_mean(source, np.array(inner)),
        ]
    means = values(model, outputs, inputs)
    found = {f"{name}/{gate}/gate": value for gate, value in fixed.items()}
    for n, node in enumerate(nodes):
        key = f"{name}/{node.get_friendly_name()}"
        low, high, mean = means[3 * n : 3 * n + 3]
        found[f"{key}/ends"] = np.array([low, high], np.float32)
        found[f"{key}/mean"] = mean.astype(np.float32)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pictures", type=int, default=32)
    parser.add_argument("--out", type=Path, default=LEVELS)
    asked = parser.parse_args()
    half = asked.pictures // 2
    plain = photos(asked.pictures, shard="00002.tar")
    images = [*(image for image, _ in rendered(plain[:half], lemmas(), seed=5)), *plain[half:]]
    reader = TextReader(Device(), 800, 1.25, 0.4, False)
    found = statistics("glance", [standard(scaled(image, 800 * GLANCE, 1.25 * GLANCE)) for image in images])
    closer = [sharpened(scaled(image, 800 * CLOSER, 1.25 * CLOSER)) for image in images]
    found |= statistics("detect", [standard(image) for image in closer])
    strips = [strip(image, line.box) for image in images for line in reader([image])[0]][:LINES]
    found |= statistics("read", [padded(item, 32, WIDEST) for item in strips])
    files = {name: blake3(path_of(name).read_bytes()).hexdigest() for name in ("glance", "detect", "read")}
    save_file(found, asked.out, {"networks": json.dumps(files)})  # safetensors shuffles several
    asked.out.chmod(0o644)
    print(f"{asked.out}: {len(images)} pictures, {len(strips)} lines, {len(found)} tensors")


if __name__ == "__main__":
    main()
