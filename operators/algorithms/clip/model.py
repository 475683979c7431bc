"""An open_clip model on one device: pictures and captions to embeddings.

    clip = load("ViT-L-14", "openai", Device("cuda", threads=16))
    clip.images(pictures)            # (n, d) float32
    clip.texts(captions)             # the same, and which captions are cut

The last block of the image tower is computed for the pooled token alone (pooled_token.py). On CPU, chunks of
rows go through the network side by side, one thread each, and a caption takes as much of the text tower's
context as it needs (text_contexts.py).

A GPU has three streams: images are resized and tokens copied on one, and each tower runs on one of its own.
`launched` waits for none, so that the GPU has work while Python packs one batch's results and makes the next.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from operators.algorithms.clip.batches import Launched, Ready, joined
from operators.algorithms.clip.files import registered
from operators.algorithms.clip.network import Precision, network, settled
from operators.algorithms.clip.open_clip_names import TRANSFORMERS, local_files, why_no_tokenizer
from operators.algorithms.clip.resample import LONG
from operators.algorithms.clip.text_contexts import ROWS, TextContexts
from operators.algorithms.clip.tokens import Captions
from operators.algorithms.clip.transform import agrees, split
from operators.algorithms.threads import torch_on_one_thread
from pipeline.assets import local_file
from pipeline.operator import Device

PRIORITIES = (-1, 0, 0)  # of the streams: the small kernels aside do not queue behind the towers'
CHUNK = {"cpu": 16, "cuda": 256}  # rows per forward pass, padded: shapes never vary, so results do not either

LOG = logging.getLogger("winnow.run")


class ClipModel:
    """An open_clip model with its transform and tokenizer, on one device.

    `model`, `pretrained` and `precision` are those of ClipWeights. Checkpoints are read as safetensors, or
    with weights_only. `text_only` drops the image tower once it is read: ViT-L-14 then takes 0.6 GB, not 1.6.
    """

    def __init__(
        self,
        model: str,
        pretrained: str,
        device: Device,
        precision: Precision = "auto",
        text_only: bool = False,
    ) -> None:
        import torch

        model, pretrained = _on_this_machine(model), _on_this_machine(pretrained)
        if why := why_no_tokenizer(model):
            raise ValueError(why)
        model = registered(model)
        pool = ThreadPoolExecutor(device.threads) if device.threads > 1 else None
        in_parallel: Callable[..., Iterable[Any]] = pool.map if pool else map
        self.over_chunks: Callable[..., Iterable[Any]] = map
        self.over_images: Callable[..., Iterable[Any]] = map
        if device.name == "cpu":  # whole chunks side by side, one thread each: sums never split differently
            torch_on_one_thread()
            self.over_chunks = in_parallel
        else:
            self.over_images = in_parallel
        precision = settled(precision, device.name)
        self.net, transform = network(model, pretrained, device.name, precision, text_only)
        self.contexts = TextContexts(self.net) if device.name == "cpu" else None
        self.captions = Captions(_tokenizer(model))
        self.head, self.tail, self.frame = split(transform)
        self.device = device.name
        self.ahead = device.name != "cpu"
        cuda: Any = torch.cuda
        self.aside, self.for_images, self.for_texts = (
            cuda.Stream(priority=priority) if self.ahead else None for priority in PRIORITIES
        )
        if self.ahead:
            cuda.synchronize()  # the weights are on their way on another stream
        # The device resizes to the bit as open_clip does on the CPU, which then only decodes
        sees = self.ahead and not text_only
        self.resizes = sees and self.frame is not None and agrees(self.frame, self.head, self.device)
        self.launching = threading.Lock()
        self.chunk = CHUNK[device.name]
        self.dtype = getattr(torch, precision)

    @cached_property
    def width(self) -> int:
        """d, for batches without rows; asked of the text tower, which is the faster one and always there."""
        return int(self._texts(self.captions([""])[0]).shape[1])

    def images(self, images: Sequence[np.ndarray], fast: bool = False) -> np.ndarray:
        """n pictures, (h, w, 3) uint8 each -> (n, d) float32, of the lengths that the model gives them.
        `fast`: see `operators.clip.ClipImages`."""
        if self.ahead:
            return self.encoded(self.launched([self.ready(images, fast)], []))[0]
        return self._in_chunks(images, partial(self._images, fast=fast))

    def texts(self, texts: Sequence[str]) -> tuple[np.ndarray, list[bool]]:
        """n captions -> (n, d) float32, as images, and whether each has more tokens than fit."""
        if not texts:
            return np.empty((0, self.width), np.float32), []
        tokens, cut = self.captions(texts)
        if self.contexts is None:
            return self._texts(tokens), cut
        groups = self.contexts.groups(tokens)
        encoded = np.concatenate(list(self.over_chunks(partial(self._short_texts, tokens), groups)))
        found = np.empty_like(encoded)
        found[[row for _, rows in groups for row in rows]] = encoded
        return found, cut

    def ready(self, images: Sequence[np.ndarray | None], fast: bool) -> Ready:
        """The pictures of some rows, prepared and on their way to the device; None where there is none. May
        be called on several threads."""
        import torch

        seen = [row for row, image in enumerate(images) if image is not None]
        pictures = [image for image in images if image is not None]
        with torch.cuda.stream(self.aside):  # of None: nothing
            return Ready(len(images), seen, self._pixels(pictures, fast) if seen else None)

    def launched(self, parts: Sequence[Ready], texts: Sequence[str]) -> Launched:
        """The pictures of all parts, and captions, on their way through the device. May be called on several
        threads: the device then has the next batch before it has ended with this one."""
        import torch

        seen, there = joined(parts)
        with torch.cuda.stream(self.aside):
            pixels = self.tail(torch.cat(there)).to(self.dtype) if there else None
            tokens, cut = self.captions(texts) if texts else (None, [])
            tokens = None if tokens is None else tokens.to(self.device)
        with self.launching, torch.inference_mode():
            found_texts, texts_done = self._on_host(self.net.encode_text, tokens, self.for_texts)
            found_images, images_done = self._on_host(self.net.encode_image, pixels, self.for_images)
        done = [event for event in (texts_done, images_done) if event is not None]
        return Launched(seen, found_images, found_texts, cut, done, (pixels, tokens))

    def encoded(self, launched: Launched) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) float32 of the pictures, and of the captions, as soon as the device has them."""
        for event in launched.done:
            event.synchronize()
        images, texts = (
            np.empty((0, self.width), np.float32) if found is None else found.numpy().copy()
            for found in (launched.images, launched.texts)
        )
        return images, texts

    def _pixels(self, images: Sequence[np.ndarray], fast: bool) -> Any:
        """(n, s, s, 3) uint8 on the device; at least one picture."""
        import torch

        if self.frame is not None and (fast or self.resizes):
            short = [self.head(image) if max(image.shape) > LONG else image for image in images]
            return self.frame(short, self.device)
        ready = list(self.over_images(self.head, images))
        kind = torch.from_numpy(ready[0][:0].copy()).dtype
        shape = (len(ready), *ready[0].shape)
        pixels = torch.empty(shape, dtype=kind, pin_memory=self.aside is not None)
        np.stack(ready, out=pixels.numpy())
        return pixels.to(self.device, non_blocking=True)

    def _on_host(self, encode: Callable[[Any], Any], batch: Any, stream: Any) -> tuple[Any, Any]:
        """(n, d) float32 in the host's memory, once the event beside it has come; None of None."""
        import torch

        if batch is None:
            return None, None
        with torch.cuda.stream(stream):  # of None: nothing
            if stream is not None:
                stream.wait_stream(self.aside)
            found = self._all(encode, batch)
            host = torch.empty(found.shape, pin_memory=stream is not None)
            host.copy_(found, non_blocking=stream is not None)
            return host, None if stream is None else stream.record_event()

    def _all(self, encode: Callable[[Any], Any], batch: Any) -> Any:
        """(n, d) float32 on the device, which may still be at work: `encode` of a batch, at least one row. If
        the device has no memory for a forward pass, that has half as many rows from then on."""
        import torch

        while True:
            chunk = self.chunk  # another thread may halve it
            try:
                parts = (batch[start : start + chunk] for start in range(0, len(batch), chunk))
                return torch.cat([_padded(encode, part, chunk) for part in parts])
            except RuntimeError as error:
                full = isinstance(error, torch.OutOfMemoryError) or "ALLOC_FAILED" in str(error)  # of cuBLAS
                if chunk == 1 or not full:
                    raise
                self.chunk = min(self.chunk, chunk // 2)
                LOG.warning("CLIP: out of memory, continues with %d rows per forward pass", self.chunk)

    def _in_chunks(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], Any]) -> np.ndarray:
        """(n, d) float32: the items encoded, `self.chunk` of them per forward pass."""
        chunks = [items[i : i + self.chunk] for i in range(0, len(items), self.chunk)]
        encoded = list(self.over_chunks(encode, chunks))
        return np.concatenate(encoded) if encoded else np.empty((0, self.width), np.float32)

    def _images(self, images: Sequence[np.ndarray], fast: bool) -> np.ndarray:
        """(n, d) float32 of at most a chunk of images."""
        import torch

        head = self.frame.quick if fast and self.frame is not None else self.head
        ready = list(self.over_images(head, images))
        pixels = torch.from_numpy(np.stack(ready)).to(self.device)
        return self._forward(self.net.encode_image, self.tail(pixels).to(self.dtype), self.chunk)

    def _texts(self, tokens: Any) -> np.ndarray:
        """(n, d) float32 of token rows, at least one."""
        import torch

        with torch.inference_mode():
            return np.asarray(self._all(self.net.encode_text, tokens.to(self.device)).cpu())

    def _short_texts(self, tokens: Any, group: tuple[int, list[int]]) -> np.ndarray:
        """(rows, d) float32 of rows that need a context of the same length; see TextContexts."""
        assert self.contexts is not None
        length, rows = group
        return self._forward(self.contexts.encode, tokens[rows, :length], ROWS)

    def _forward(self, encode: Callable[[Any], Any], batch: Any, chunk: int) -> np.ndarray:
        """The output of `encode` for the rows of a batch, padded to `chunk` of them."""
        import torch

        with torch.inference_mode():
            return np.asarray(_padded(encode, batch, chunk).cpu())


def _padded(encode: Callable[[Any], Any], batch: Any, chunk: int) -> Any:
    """(rows, d) float32 on the device, which may still be at work: `encode` of a batch, padded to `chunk`."""
    import torch

    padding = batch.new_zeros((chunk - len(batch), *batch.shape[1:]))
    return encode(torch.cat([batch, padding]))[: len(batch)].float()


def unit(features: np.ndarray) -> np.ndarray:
    """(n, d) float32 of any lengths -> of length 1."""
    import torch

    return np.asarray(torch.nn.functional.normalize(torch.from_numpy(features), dim=-1))


def _on_this_machine(name: str) -> str:
    """The path of a file that open_clip would not find: one below ~, or at a URL, of which there is then a
    copy on this machine. Other names as they are."""
    return local_file(name) if "://" in name or name.startswith("~") else name


_LOADED: WeakValueDictionary[tuple[Any, ...], ClipModel] = WeakValueDictionary()


def load(model: str, pretrained: str, device: Device, precision: Precision = "auto") -> ClipModel:
    """The model, one for all operators of a worker that ask for the same, as long as one of them lives."""
    paths = [Path(path) for path in (model, pretrained, *local_files(model).values())]
    files = [path.stat().st_mtime_ns for path in paths if path.is_file()]
    key = (model, pretrained, device, precision, *files)
    loaded = _LOADED.get(key) or ClipModel(model, pretrained, device, precision)
    _LOADED[key] = loaded
    return loaded


def _tokenizer(model: str) -> Any:
    """open_clip's tokenizer of a model. Raises ValueError if it lacks a package: of a `hf-hub:` model the
    config tells that only once it was downloaded."""
    import open_clip

    try:
        return open_clip.get_tokenizer(model)
    except ImportError as error:
        raise ValueError(f"{TRANSFORMERS.format(model=model)} ({error})") from error
