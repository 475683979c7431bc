"""The files of a CLIP, an open_clip config and a checkpoint: what is wrong with one that cannot be used.

why_not_config("mine.json")          -> "": open_clip can build a model from it
with naming("ViT-B-32", "mine.pt"):  # what open_clip raises as it reads the checkpoint is a ValueError
    open_clip.create_model(...)      # that says which file, what is wrong, and the next step
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from traceback import walk_tb

from operators.algorithms.clip.unfilled_weights import BY_NAME
from operators.algorithms.files.torch_files import why_not_checkpoint

NEEDED = ("embed_dim", "vision_cfg", "text_cfg")  # a config without one is silently ignored by open_clip
MOST_CONFIG = 1 << 20  # bytes; those of open_clip have at most 1 KB
READERS = {"load_checkpoint", "load_state_dict"}  # functions of open_clip that read a checkpoint
LONGEST = 200  # characters that are told of what a library says


def why_not_config(path: str) -> str:
    """Why a local file is not a config of open_clip; empty if it is one."""
    try:
        with open(path, "rb") as file:
            config = json.loads(file.read(MOST_CONFIG + 1).decode())  # as open_clip reads it: not UTF-16
    except OSError as error:
        return str(error)
    except (ValueError, RecursionError) as error:
        fault = f"is not JSON ({error})" if os.path.getsize(path) else "is empty"
        return (
            f"{path} {fault}, must be a config of open_clip; copy it again, or name a model such as ViT-B-32"
        )
    missing = [name for name in NEEDED if not isinstance(config, dict) or name not in config]
    if missing:
        return f"{path} is not a config of open_clip: it lacks {', '.join(missing)}"
    return ""


def registered(model: str) -> str:
    """The name by which open_clip knows a model: of a config file, which is made known to it. Raises
    ValueError for a file that is no config, which would spoil every later call of open_clip."""
    if not model.endswith(".json"):
        return model
    if why := why_not_config(model):
        raise ValueError(why)
    import open_clip

    open_clip.add_model_config(Path(model))
    return Path(model).stem


@contextmanager
def naming(model: str, pretrained: str) -> Iterator[None]:
    """Within the block, open_clip loads `pretrained`, a checkpoint file, a tag or empty, into `model`. Raises
    ValueError if the checkpoint cannot be read or is of another model; other errors pass as they are."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        names = {frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)}
        if not names & READERS or type(error).__name__ == "OutOfMemoryError":
            raise
        if is_checkpoint(pretrained) and (why := why_not_checkpoint(pretrained)):
            raise ValueError(why) from error
        raise ValueError(
            f"{pretrained or model} cannot be loaded as the weights of {model}: {_said(error)}; copy it again, or "
            "name a checkpoint of this model"
        ) from error


def is_checkpoint(pretrained: str) -> bool:
    """Whether it is a file of torch.save or safetensors."""
    return os.path.isfile(pretrained) and not pretrained.endswith(BY_NAME)


def _said(error: Exception) -> str:
    """What is wrong, as far as an exception tells."""
    if isinstance(error, StopIteration):
        return "it holds no tensor"
    if isinstance(error, UnpicklingError):  # torch advises to run what the file holds
        return "it was cut, or holds more than tensors, which nothing here reads"
    text = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST]
    if isinstance(error, AttributeError | TypeError | LookupError):
        return f"it does not hold the tensors of a CLIP by name ({text})"
    return text
