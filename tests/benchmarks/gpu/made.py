"""What `make gpu` measures with: CLIPs with random weights, tars of photos, and the recipe of a pool."""

import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.recipe.load import parse
from pipeline.recipe.sections import Recipe
from tests.support.samples import picture
from tests.support.tiny_clip import TINY

PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos"
TRAINED = Path(__file__).parents[3] / "jobs" / "toy" / "models" / "scene_clip"  # small, but no random weights
MODELS = {  # the name in the table -> open_clip's
    "B/32": "ViT-B-32",
    "B/16": "ViT-B-16",
    "L/14": "ViT-L-14",
    "So400m/14": "ViT-SO400M-14-SigLIP",
    "H/14": "ViT-H-14",
}
DRAWN = 48  # pictures of a tar that is made on the spot
QUALITY = 85  # of enlarged JPEGs
WORDS = 49_408  # of open_clip's own tokenizer


class Clip(NamedTuple):
    """An open_clip config and a checkpoint."""

    config: str
    weights: str


def random_clip(name: str, folder: Path, device: str) -> Clip:
    """A CLIP with random weights, made on the device. `name`: open_clip's, or `tiny`. A tokenizer that would
    be downloaded is replaced by open_clip's own."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = TINY if name == "tiny" else open_clip.get_model_config(name)
    config = json.loads(json.dumps(config))
    text = config["text_cfg"]
    if text.pop("hf_tokenizer_name", None):
        text.pop("tokenizer_kwargs", None)
        text["vocab_size"] = WORDS
    path = folder / f"random-{name.partition('SigLIP')[0]}.json"  # whose name would choose that tokenizer
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    with torch.device(device):
        net = open_clip.create_model(path.stem)
    weights = path.with_suffix(".safetensors")
    save_file({key: value.contiguous() for key, value in net.state_dict().items()}, weights)
    return Clip(str(path), str(weights))


def photo_tars(photos: Path, folder: Path, samples: int) -> list[Path]:
    """Tars with at least so many samples: the photos again and again, or drawn pictures if there are none."""
    folder.mkdir(exist_ok=True, parents=True)
    sources = sorted(photos.glob("*.tar")) or [tar_of(drawn(), folder / "drawn")]
    tars = list[Path]()
    for number, source in enumerate(itertools.cycle(sources)):
        if samples <= 0:
            return tars
        tars.append(folder / f"{number:05d}.tar")
        tars[-1].write_bytes(source.read_bytes())
        samples -= len(pictures_of(source))
    return tars


def drawn() -> list[tuple[bytes, str]]:
    """(JPEG, caption): pictures of several sizes."""
    return [(picture(n, 160 + n, 240 - n, "JPEG"), f"drawn picture {n}") for n in range(DRAWN)]


def enlarged(samples: Sequence[tuple[bytes, str]], side: int, threads: int) -> list[tuple[bytes, str]]:
    """The same pictures with a longer side of `side` pixels, encoded anew."""
    from PIL import Image

    def larger(jpeg: bytes) -> bytes:
        image = Image.open(io.BytesIO(jpeg)).convert("RGB")
        scale = side / max(image.size)
        out = io.BytesIO()
        image.resize((round(image.width * scale), round(image.height * scale))).save(
            out, "JPEG", quality=QUALITY
        )
        return out.getvalue()

    with ThreadPoolExecutor(threads) as pool:
        jpegs = list(pool.map(larger, [jpeg for jpeg, _ in samples]))
    return [(jpeg, caption) for jpeg, (_, caption) in zip(jpegs, samples, strict=True)]


def tar_of(samples: Sequence[tuple[bytes, str]], path: Path) -> Path:
    """A tar of JPEGs with captions."""
    with tarfile.open(path, "w") as tar:
        for number, (jpeg, caption) in enumerate(samples):
            for suffix, data in (("jpg", jpeg), ("txt", caption.encode())):
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def pictures_of(tar: Path) -> list[tuple[bytes, str]]:
    """(JPEG, caption) of each sample of a tar."""
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(tar) as members:
        for member in members:
            key, _, suffix = member.name.rpartition(".")
            data = members.extractfile(member)
            found.setdefault(key, {})[suffix] = data.read() if data else b""
    return [(parts["jpg"], parts["txt"].decode()) for parts in found.values()]


def recipe(tars: Sequence[Path], store: Path, clip: Clip, gpus: int, **fields: Any) -> Recipe:
    """A pool of these tars with one ClipScore, `clip`."""
    return parse(
        {
            "pool": {"shards": [str(tar) for tar in tars], "store": str(store)},
            "compute": {
                "clip": {
                    "use": "clip.ClipScore",
                    "model": clip.config,
                    "pretrained": clip.weights,
                    **fields,
                }
            },
            "run": {"clip": {"gpus": gpus}},
        }
    )
