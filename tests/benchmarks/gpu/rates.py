"""How many samples a second: each part of the image pass alone, the networks alone, and the whole pass."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from operators.algorithms.clip_model import ClipModel
from pipeline.ordered_map import ordered_map
from pipeline.plan.session import Session
from pipeline.recipe.sections import Recipe
from pipeline.run.batches import Read, Work, batches
from pipeline.run.compute import compute
from pipeline.run.decode import Decoder, decode
from pipeline.run.executor import Event, LocalExecutor
from tests.benchmarks.gpu.agreement import Samples, decoded_on_device, on_device
from tests.benchmarks.gpu.machine import Busy, Machine

AHEAD = 2  # batches that the device decodes while the networks work


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
        make = partial(model.ready, images[:rows], captions[:rows], name == "fast")
        found[f"ready, {name}"] = rows / machine.seconds(make, 3)
    ready = model.ready(images[:rows], captions[:rows], True)
    return found | {"encoded": rows / machine.seconds(lambda: model.encoded(ready), 3)}


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


def with_device_decode(model: ClipModel, samples: Samples, size: int, machine: Machine, rows: int) -> float:
    """Samples per second from encoded bytes in memory: the device decodes and resizes on one thread, the
    networks work on another, captions are tokenised beside."""
    import torch

    def ready(batch: Samples) -> tuple[Any, Any]:
        pixels = on_device([jpeg for jpeg, _ in batch], size, machine)
        return pixels, model.captions([caption for _, caption in batch])[0].to(model.device)

    def run(count: int) -> None:
        with ThreadPoolExecutor(AHEAD) as pool, torch.inference_mode():
            for pixels, tokens in ordered_map(pool, AHEAD, ready, _chunks(samples, model.chunk, count)):
                model.net.encode_text(tokens)
                found = model.net.encode_image(model.tail(pixels).to(model.dtype))
            np.asarray(found.float().cpu())

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
            seen.append((time.perf_counter(), event.rows))

    with Busy(machine) as busy:
        log = compute(Session.open(recipe), LocalExecutor(machine.threads), observe=lambda todo: hear)
    rows = sum(count for _, count in seen[1:])
    seconds = seen[-1][0] - seen[0][0]
    return {
        "rate": rows / seconds,
        "rows": rows,
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
