"""How many samples a second: each part of the image pass alone, the networks alone, and the whole pass."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from operators.algorithms.clip.batches import Launched
from operators.algorithms.clip.device_jpegs import DeviceJpegs
from operators.algorithms.clip.model import ClipModel
from pipeline.ordered_map import ordered_map
from pipeline.plan.session import Session
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Read, Work, batches
from pipeline.run.compute import compute
from pipeline.run.decode import decode
from pipeline.run.executor import Event, LocalExecutor
from pipeline.run.stage.decoder import Decoder
from tests.benchmarks.gpu.agreement import Samples, decoded_on_device, on_device
from tests.benchmarks.gpu.machine import Busy, Machine

AHEAD = 3  # batches on their way at a time


def parts(model: ClipModel, samples: Samples, machine: Machine) -> dict[str, float]:
    """Samples per second of each step before the networks, on the CPU and on the device."""
    jpegs = [jpeg for jpeg, _ in samples]
    captions = [caption for _, caption in samples]
    images = [pixels for pixels in (decode(jpeg)[0] for jpeg in jpegs) if pixels is not None]
    size = model.head(images[0]).shape[0]
    steps: dict[str, Callable[[], Any]] = {"tokens, 1 thread": lambda: model.captions(captions)}
    for threads in dict.fromkeys((1, machine.threads)):
        decoder, pool = Decoder(threads), ThreadPoolExecutor(threads)
        steps[f"decode, {_threads(threads)}"] = lambda decoder=decoder: decoder(jpegs)
        steps[f"prepare, {_threads(threads)}"] = lambda pool=pool: list(pool.map(model.head, images))
    steps["decode, device"] = lambda: decoded_on_device(jpegs, machine)
    steps["decode and resize, device"] = lambda: on_device(jpegs, size, machine)
    found = {name: len(samples) / machine.seconds(step, 3) for name, step in steps.items()}
    rows = min(model.chunk, len(images))
    for name in ("exact", "fast"):
        fast = name == "fast"
        made = partial(_one_after_the_other, model, images[:rows], captions[:rows], fast)
        found[f"one batch after the other, {name}"] = rows / machine.seconds(made, 3)
    return found


def _one_after_the_other(
    model: ClipModel, images: Sequence[Any], captions: Sequence[str], fast: bool
) -> None:
    """A batch through the device, as ClipScore takes it, with nothing beside."""
    model.encoded(model.launched([model.ready(images, fast)], captions))


def _threads(count: int) -> str:
    """In words."""
    return "1 thread" if count == 1 else f"{count} threads"


def reading(recipe: Recipe) -> float:
    """Samples per second that one thread reads from the pool's tars."""
    session = Session.open(recipe)
    from pipeline.plan.passes import plan
    from pipeline.plan.stored import list_stored

    todo = plan(recipe, session.shards, session.keys, list_stored(session))[0]
    work = Work.of(recipe, session.keys, todo)  # type: ignore[arg-type]
    started = time.perf_counter()
    rows = sum(len(b.frame) for shard in session.shards for b in batches(work, shard, Read(shard.name)))
    return rows / (time.perf_counter() - started)


def forward(model: ClipModel, size: int, machine: Machine) -> dict[str, float]:
    """Samples per second of the towers alone, in the chunks and the precision of ClipScore."""
    import torch

    pixels = torch.randn((model.chunk, 3, size, size), device=model.device, dtype=model.dtype)
    tokens = model.captions(["a photo of a dog on the beach"] * model.chunk)[0].to(model.device)
    with torch.inference_mode():
        image = machine.seconds(lambda: model.net.encode_image(pixels))
        text = machine.seconds(lambda: model.net.encode_text(tokens))
    return {"image": model.chunk / image, "text": model.chunk / text, "both": model.chunk / (image + text)}


def with_device_decode(model: ClipModel, samples: Samples, machine: Machine, rows: int) -> float:
    """Samples per second from encoded bytes in memory to embeddings: the device decodes and resizes."""
    decoder = Decoder(machine.threads, there=DeviceJpegs(machine.device))

    def launched(batch: Samples) -> Launched:
        pictures = [pixels for pixels, _ in decoder([jpeg for jpeg, _ in batch])]
        return model.launched([model.ready(pictures, True)], [caption for _, caption in batch])

    def run(count: int) -> None:
        with ThreadPoolExecutor(AHEAD) as pool:
            for batch in ordered_map(pool, AHEAD, launched, _chunks(samples, model.chunk, count)):
                model.encoded(batch)

    run(model.chunk)
    started = time.perf_counter()
    run(rows)
    return rows / (time.perf_counter() - started)


def _chunks(samples: Samples, chunk: int, rows: int) -> Iterator[Samples]:
    """`rows` samples, a chunk at a time, from the first one again after the last."""
    for start in range(0, rows, chunk):
        yield [samples[(start + place) % len(samples)] for place in range(min(chunk, rows - start))]


def whole_pass(recipe: Recipe, machine: Machine) -> dict[str, Any]:
    """`winnow compute --local` on a pool: samples per second after the first batch, how busy the device was,
    its memory, and the workers' seconds by part."""
    seen: list[tuple[float, int]] = []

    def hear(event: Event) -> None:
        if event.rows:
            if not seen:
                busy.looks.clear()  # of the start, when the model is loaded
            seen.append((time.perf_counter(), event.rows))

    with Busy(machine) as busy:
        log = compute(Session.open(recipe), LocalExecutor(machine.threads), observe=lambda todo: hear)
    rows = sum(count for _, count in seen[1:])
    seconds = seen[-1][0] - seen[0][0]
    return {
        "rate": rows / seconds,
        "rows": rows,
        "failed": log.tally.failed["clip"],
        "busy": busy.share,
        "gib": busy.gib,
        "seconds": dict(log.tally.seconds),
    }


def emptied(folder: Path) -> Path:
    """A folder without files in it."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    return folder


__all__: Sequence[str] = ("emptied", "forward", "parts", "reading", "whole_pass", "with_device_decode")
