"""Tables made on the spot, and how the tests read them."""

import gzip
import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq

CC = {"text": 0, "url": 1}  # Conceptual Captions: no header line


def parquet(**columns) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


def texts(rows) -> list[str | None]:
    return [row["text"] for row in rows]


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


# --- the same rows in every format


ROWS = [("a dog", "http://x/1"), ('say "hi"', "http://x/2"), ("é, 5", "")]


FORMATS = {
    "t.parquet": parquet(text=[t for t, _ in ROWS], url=[u for _, u in ROWS]),
    "t.tsv": "\ufefftext\turl\r\n" + "".join(f"{t}\t{u}\r\n" for t, u in ROWS),
    "t.tsv.gz": gzip.compress(("caption\turl\n" + "\n\n".join(f"{t}\t{u}" for t, u in ROWS)).encode()),
    "t.csv": 'url,TEXT\n\nhttp://x/1,a dog\nhttp://x/2,"say ""hi"""\r\n,"é, 5"\n',
    "t.csv.gz": gzip.compress(b'alt,URL\na dog,http://x/1\n"say ""hi""",http://x/2\n')
    + gzip.compress('"é, 5",'.encode()),
    "t.jsonl": "\n".join(json.dumps({"text": t, "url": u}) for t, u in ROWS),
    "t.jsonl.gz": gzip.compress("".join(f'{{"caption": {json.dumps(t)}, "url": "{u}"}}\n' for t, u in ROWS).encode()),
    "t.ndjson": " \n".join(json.dumps({"URL": u, "alt": t}, ensure_ascii=False) for t, u in ROWS),
}  # fmt: skip


# --- packed files, breaks, cuts


def many(count: int) -> str:
    return "".join(f"caption number {i}\thttp://x/{i}\n" for i in range(count))
