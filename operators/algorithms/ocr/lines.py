"""Lines of text in a picture: PP-OCRv6 on ONNX Runtime, between RapidOCR's own post-processing.

RapidOCR's detector and recogniser take one picture or six crops per call, in shapes that follow the input.
Here the three networks (detector, direction, recogniser) are called directly, so that a picture's result
depends on that picture alone. On CPU every call holds one item: larger batches are not faster there, and ONNX
Runtime adds in another order for each batch size. On GPU a call holds `CHUNK` items of one shape, padded.

`precision: int8` is for CPUs: its detector looks twice (looks.py), and its recogniser is in integers.

Source: PP-OCR (arXiv 2009.09941); differentiable binarization (arXiv 1911.08947). The networks and the code
between them come with RapidOCR 3.10 (Apache-2.0).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np

from operators.algorithms.ocr.int8 import IntegerNetwork
from operators.algorithms.ocr.looks import TwoLooks
from operators.algorithms.ocr.masking import reading_order, shorter_side
from operators.algorithms.ocr.networks import path_of
from operators.algorithms.threads import opencv_on_one_thread
from pipeline.operator import Device

Precision = Literal["float32", "int8"]
CHUNK = {"detect": 16, "direction": 64, "read": 32}  # items of one call on GPU
BLOCK = {"cpu": 1, "int8": 32, "cuda": 64}  # pictures that go through the networks together
STEP = {"cpu": 32, "cuda": 160}  # crops are padded to a multiple of this width: few shapes on GPU
STRIP = 48  # pixels: height of a crop
TURN_WIDTH = 192  # pixels: width of a crop whose direction is judged
WIDEST = 3200  # pixels: width of a crop at most
UPSIDE_DOWN = 0.99  # RapidOCR turns a strip from 0.9 on, and so one upright word in ninety
SURE = 0.9  # least confidence of a large box: of 45 on 200 photos, 2 of which were text, it keeps those 2 and 2 others
UNCLIP = 1.6  # RapidOCR's: how far a box outgrows the core that the detector marks


class Line(NamedTuple):
    """A line of text. `box` is (4, 2) int32, its corners in pixels from the upper left one on; `text` and
    `confidence` are None if it was not read."""

    box: np.ndarray
    detection: float
    large: bool
    text: str | None = None
    confidence: float | None = None


class Network:
    """One ONNX graph, on one thread or one GPU, in calls of a fixed number of items."""

    def __init__(self, name: str, device: Device) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        chosen = _providers(device.name)
        self.session = onnxruntime.InferenceSession(str(path_of(name)), options, providers=chosen)
        self.letters = self.session.get_modelmeta().custom_metadata_map.get("character", "").splitlines()
        self.chunk = 1 if device.name == "cpu" else CHUNK[name]

    def __call__(
        self, inputs: Sequence[np.ndarray], finish: Callable[[np.ndarray], Sequence[Any]] = list
    ) -> list[Any]:
        """(3, h, w) float32 inputs -> for each, what `finish` makes of its row of the output."""
        found: list[Any] = [None] * len(inputs)
        shapes: dict[tuple[int, ...], list[int]] = {}
        for place, item in enumerate(inputs):
            shapes.setdefault(item.shape, []).append(place)
        for shape, places in shapes.items():
            for start in range(0, len(places), self.chunk):
                part = places[start : start + self.chunk]
                batch = np.zeros((self.chunk, *shape), np.float32)
                batch[: len(part)] = [inputs[place] for place in part]
                rows = finish(self.session.run(None, {"x": batch})[0][: len(part)])
                for place, row in zip(part, rows, strict=True):
                    found[place] = row
        return found


def _providers(device: str) -> list[Any]:
    """ONNX Runtime's providers for a device. Raises RuntimeError if a GPU is wanted and it has no CUDA."""
    import onnxruntime

    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise RuntimeError(
            "this onnxruntime has no CUDA: install onnxruntime-gpu, or ask for no GPU in `run`"
        )
    fixed = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}  # not by timing: runs would differ
    return [("CUDAExecutionProvider", fixed), "CPUExecutionProvider"]


class OneLook:
    """The detector of lines, with one look at the whole picture."""

    def __init__(self, side: int, enlarge: float, device: Device) -> None:
        self.side = side
        self.enlarge = enlarge
        self.square = device.name != "cpu"
        self.network = Network("detect", device)

    def __call__(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """n pictures, (h, w, 3) uint8 RGB -> for each, (1, H, W) float32, the chance that a pixel is text."""
        frames = [frame(image, self.side, self.enlarge, self.square) for image in images]
        maps = self.network([pixels for pixels, _ in frames])
        return [chances[:, :high, :wide] for chances, (_, (high, wide)) in zip(maps, frames, strict=True)]


class TextReader:
    """Finds the lines of pictures. With `recognise` it reads all of them, else only the large ones, to be
    sure that they are text. On CPU it takes `device.threads` pictures at a time."""

    def __init__(
        self,
        device: Device,
        side: int,
        enlarge: float,
        threshold: float,
        recognise: bool,
        precision: Precision = "float32",
    ) -> None:
        from rapidocr.ch_ppocr_det.utils import DBPostProcess
        from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode

        opencv_on_one_thread()
        if precision == "int8" and device.name != "cpu":
            raise RuntimeError("int8 is for CPUs: take float32, or ask for no GPU in `run`")
        self.block = BLOCK[device.name if precision == "float32" else precision]
        self.step = STEP[device.name]
        self.sparing = precision == "int8"
        pool = ThreadPoolExecutor(device.threads) if device.threads > 1 and device.name == "cpu" else None
        self.over_blocks: Callable[..., Iterable[Any]] = pool.map if pool else map
        self.threads = device.threads if pool else 1
        self.detect: OneLook | TwoLooks
        self.read: Network | IntegerNetwork
        if precision == "int8":
            self.detect = TwoLooks(side, enlarge, device.threads)
            self.read = IntegerNetwork("read", path_of("read"), device.threads)
        else:
            self.detect = OneLook(side, enlarge, device)
            self.read = Network("read", device)
        self.boxes_of = DBPostProcess(threshold / 2, threshold, unclip_ratio=UNCLIP, use_dilation=True)
        self.direction = Network("direction", device)
        self.recognise = recognise
        self.decode = CTCLabelDecode(list(self.read.letters))

    def __call__(self, images: Sequence[np.ndarray]) -> list[list[Line]]:
        """n pictures, (h, w, 3) uint8 RGB -> each one's lines in reading order."""
        block = max(1, min(self.block, -(-len(images) // self.threads)))
        blocks = [images[i : i + block] for i in range(0, len(images), block)]
        return [lines for found in self.over_blocks(self._block, blocks) for lines in found]

    def _block(self, images: Sequence[np.ndarray]) -> list[list[Line]]:
        """The lines of pictures that go through the networks together."""
        lines = self._find(images)
        asked = [n for n, (_, line) in enumerate(lines) if self.recognise or line.large]
        readings = self._read([strip(images[lines[n][0]], lines[n][1].box) for n in asked])
        texts = dict(zip(asked, readings, strict=True))
        kept = [list[Line]() for _ in images]
        for n, (place, line) in enumerate(lines):
            text, confidence = texts.get(n, ("", 0.0))
            if confidence >= SURE or not line.large:
                read = line._replace(text=text, confidence=confidence)
                kept[place].append(read if self.recognise else line)
        return kept

    def _find(self, images: Sequence[np.ndarray]) -> list[tuple[int, Line]]:
        """The boxes in reading order, each with the index of its image."""
        found: list[tuple[int, Line]] = []
        for place, chances in enumerate(self.detect(images)):
            shape = images[place].shape[:2]
            boxes, detections = self.boxes_of(chances[None], shape)
            for n in reading_order(list(boxes)):
                box = boxes[n].astype(np.int32)
                found.append((place, Line(box, min(1.0, float(detections[n])), is_large(box, shape))))
        return found

    def _read(self, strips: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """(text, confidence) of each strip, turned first if it is upside down."""
        if self.sparing:
            return self._read_sparing(strips)
        turned = self.direction([padded(item, TURN_WIDTH, TURN_WIDTH) for item in strips])
        strips = [
            np.rot90(item, 2) if chances[1] > UPSIDE_DOWN else item
            for item, chances in zip(strips, turned, strict=True)
        ]
        return self._as_they_stand(strips)

    def _read_sparing(self, strips: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """The same, but only what is read with less confidence than `SURE` may be upside down."""
        found = self._as_they_stand(strips)
        unsure = [n for n, (_, confidence) in enumerate(found) if confidence < SURE]
        turned = self.direction([padded(strips[n], TURN_WIDTH, TURN_WIDTH) for n in unsure])
        again = [n for n, chances in zip(unsure, turned, strict=True) if chances[1] > UPSIDE_DOWN]
        readings = self._as_they_stand([np.rot90(strips[n], 2) for n in again])
        for n, reading in zip(again, readings, strict=True):
            found[n] = reading
        return found

    def _as_they_stand(self, strips: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        """(text, confidence) of each strip."""
        ready = [padded(item, self.step, WIDEST) for item in strips]
        return self.read(ready, lambda rows: self.decode(rows)[0])


def frame(image: np.ndarray, side: int, enlarge: float, square: bool) -> tuple[np.ndarray, tuple[int, int]]:
    """The picture as the detector sees it, (3, H, W) float32, and the (h, w) of the part of it, at the upper
    left, that shows the picture. The picture's longer side becomes `side`, or `enlarge` times its length if
    that is less. As in RapidOCR, sides are stretched to the multiples of 32 that the detector needs. `square`
    repeats the edges to make one shape for all; gray there would cost 5 % recall.

    The picture is sharpened: on street photos the detector then finds as much at 800 pixels as at 960
    without.
    """
    import cv2

    scale = min(side / max(image.shape[:2]), enlarge)
    height, width = (max(1, round(scale * length / 32)) * 32 for length in image.shape[:2])
    how = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_CUBIC  # the former sees every pixel
    small = cv2.resize(image, (width, height), interpolation=how)
    sharp = cv2.addWeighted(small, 2, cv2.GaussianBlur(small, (0, 0), 1), -1, 0)
    if square:
        sharp = cv2.copyMakeBorder(sharp, 0, side - height, 0, side - width, cv2.BORDER_REPLICATE)
    return normal(sharp), (height, width)


def normal(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) RGB in 0..255 -> (3, h, w) BGR in -1..1. Plane by plane it takes a sixth of the time."""
    import cv2

    scaled = np.empty((3, *pixels.shape[:2]), np.float32)
    for place, plane in enumerate(cv2.split(pixels)[::-1]):
        scaled[place] = plane
    scaled /= 127.5
    scaled -= 1
    return scaled


def is_large(box: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a box is over a third as high as the picture. The detector takes whatever fills a picture, a
    plate or a face, for one huge letter. Such a box is kept only if it is read with confidence `SURE`."""
    return shorter_side(box) > min(shape) / 3


def strip(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The content of a box, set straight: (h, w, 3), wider than high, or turned by a quarter. Only the box's
    neighbourhood is touched. It is first shrunk to about twice the height that the recogniser takes."""
    import cv2
    from rapidocr.utils.process_img import get_rotate_crop_image

    low = np.maximum(box.min(0) - 2, 0)
    part = image[low[1] : box[:, 1].max() + 3, low[0] : box[:, 0].max() + 3]
    corners = (box - low).astype(np.float32)
    height = shorter_side(corners)
    if height > 2 * STRIP:
        small = [max(4, round(2 * STRIP / height * length)) for length in part.shape[1::-1]]
        corners *= np.array(small, np.float32) / part.shape[1::-1]
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    found: np.ndarray = get_rotate_crop_image(np.ascontiguousarray(part), corners.astype(np.float32))
    return found


def padded(item: np.ndarray, step: int, widest: int) -> np.ndarray:
    """(h, w, 3) -> (3, STRIP, W) float32. W is the next multiple of `step`, at most `widest`; zeros on the
    right."""
    import cv2

    wanted = min(widest, max(1, math.ceil(STRIP * item.shape[1] / item.shape[0])))
    full = np.zeros((3, STRIP, min(widest, math.ceil(wanted / step) * step)), np.float32)
    full[:, :, :wanted] = normal(cv2.resize(item, (wanted, STRIP)))
    return full
