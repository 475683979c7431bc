"""`winnow ingest` killed twice on a list with 30 % planted failures: is every URL accounted for once, by
reason? And its speed beside img2dataset's own command on pictures that all arrive.

    PYTHONPATH=. python tests/benchmarks/bench_ingest.py [--urls 2000] [--kills 2]
"""

import argparse
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support

from tests.support.ingest_runs import LOOPBACK, accounted, done, ingest, killed, write_list
from tests.support.web_server import KINDS, web

FAILURES = 0.3
SHARD = 100  # URLs
SETTINGS = ("--rows", SHARD, "--threads", 16, "--retries", 0, "--local", "--processes", 2, *LOOPBACK)
PLAIN = """
import sys
from img2dataset import download

if __name__ == "__main__":
    download(url_list=sys.argv[1], output_folder=sys.argv[2], input_format="tsv", url_col="url",
             caption_col="caption", output_format="webdataset", resize_mode="keep_ratio_largest", image_size=512,
             resize_only_if_bigger=True, skip_reencode=True, extract_exif=False, processes_count=2,
             thread_count=16, number_sample_per_shard=100)
"""


def planted(base: str, urls: int) -> list[tuple[str, str, str | None]]:
    """(caption, url, reason): pictures, and of each kind of failure as many; the order is drawn, seed 0."""
    bad = [kind for kind, why in KINDS.items() if why is not None]
    good = [kind for kind, why in KINDS.items() if why is None]
    failures = round(urls * FAILURES)
    kinds = [bad[i % len(bad)] for i in range(failures)] + [
        good[i % len(good)] for i in range(urls - failures)
    ]
    random.Random(0).shuffle(kinds)
    return [(f"a {kind} {i}", f"{base}/{kind}/{i}", KINDS[kind]) for i, kind in enumerate(kinds)]


def kill_and_resume(folder: Path, urls: int, kills: int) -> None:
    """Print the books; AssertionError where a URL is missing, comes twice, or has another reason."""
    out = folder / "out"
    with web(delay=0.02) as (base, hits):
        rows = planted(base, urls)
        write_list(folder / "list.tsv", [row[:2] for row in rows])
        words, seen = (folder / "list.tsv", out, "--timeout", 3, *SETTINGS), []
        for number in range(kills):
            seen.append(killed(out, (number + 1) * (urls // SHARD) // (kills + 1), *words))
        started = time.perf_counter()
        books = ingest(*words)
    accounted(out, {caption: why for caption, _, why in rows})
    assert books["lost"] == Counter(why for _, _, why in rows if why is not None)
    print(f"killed (SIGKILL) with {', '.join(map(str, seen))} of {urls // SHARD} shards done, then resumed")
    print(
        f"listed {books['listed']:,} = downloaded {books['downloaded']:,} + lost {sum(books['lost'].values()):,}"
    )
    for why, count in books["lost"].items():
        print(f"  {count:5,}  {why}")
    print(
        f"the last run took {time.perf_counter() - started:.1f} s; {done(out)} shards; {len(hits):,} paths asked for"
    )


def speed(folder: Path, urls: int) -> None:
    """Seconds of both, in turn, on pictures alone."""
    (folder / "plain.py").write_text(PLAIN)
    with web() as (base, _):
        write_list(folder / "photos.tsv", [(f"photo {i}", f"{base}/big/{i}") for i in range(urls)])
        started = time.perf_counter()
        books = ingest(folder / "photos.tsv", folder / "ours", *SETTINGS)
        ours = time.perf_counter() - started
        assert books["downloaded"] == urls
        started = time.perf_counter()
        plain = [sys.executable, folder / "plain.py", folder / "photos.tsv", folder / "theirs"]
        subprocess.run(plain, check=True, capture_output=True, text=True)
        theirs = time.perf_counter() - started
    print(
        f"{urls:,} pictures of 1,200 x 900: winnow ingest {ours:.1f} s, img2dataset {theirs:.1f} s, imports and all"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--urls", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=2)
    asked = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {asked.urls:,} URLs, {FAILURES:.0%} planted failures"
    )
    folder = Path(tempfile.mkdtemp(prefix="bench_ingest_"))
    try:
        kill_and_resume(folder, asked.urls, asked.kills)
        speed(folder, min(asked.urls, 300))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
