"""Tables in CSV and TSV."""

import gzip

from tests.corpus.kind import Build, Kind, damaged, fails, reads, refused, unread
from tests.corpus.tables import as_tables, with_file

HEAD = b"text,url,key\n"
ROW = b"an odd row,http://e.org/1,odd\n"


def csv(data: bytes, name: str = "odd.csv") -> Build:
    """A table of these bytes."""
    return with_file(as_tables, data, name)


def tsv(data: bytes) -> Build:
    """The same with tabs."""
    return csv(data.replace(b",", b"\t"), "odd.tsv")


KINDS = [
    Kind("a byte order mark", csv(b"\xef\xbb\xbf" + HEAD + ROW), reads()),
    Kind(
        "UTF-16", csv((HEAD + ROW).decode().encode("utf-16")), unread("odd.csv", "is UTF-16, must be UTF-8")
    ),
    Kind(
        "UTF-16 without a mark",
        csv((HEAD + ROW).decode().encode("utf-16-le")),
        refused("odd.csv", "no column text"),
    ),
    Kind("latin-1", csv(HEAD + "caf\xe9 au lait,u,odd\n".encode("latin-1")), reads()),
    Kind("semicolons", csv((HEAD + ROW).replace(b",", b";")), refused("no column text", "text;url;key")),
    Kind("tabs in a csv", csv((HEAD + ROW).replace(b",", b"\t")), refused("no column text")),
    Kind("no header", csv(ROW), refused("no column text", "an odd row")),
    Kind("the header alone", csv(HEAD), reads(0)),
    Kind("empty", csv(b""), damaged("the file is empty")),
    Kind("only line breaks", csv(b"\n\r\n\n"), reads(0)),
    Kind(
        "two columns of one name", csv(b"text,text,url\na,b,c\n"), unread("odd.csv", "2 columns called text")
    ),
    Kind(
        "two columns of one name, with tabs",
        tsv(b"text,text,url\na,b,c\n"),
        unread("odd.tsv", "2 columns called text"),
    ),
    Kind("two nameless columns", csv(b"text,,,key\na b,,,odd\n"), reads()),
    Kind("short and long rows", csv(HEAD + b"one two\nthree four,u,odd,more,more\n"), reads(2)),
    Kind("line breaks in quotes", csv(HEAD + b'"a ""quoted""\nline, two",u,odd\n'), reads()),
    Kind(
        "carriage returns alone",
        csv((HEAD + ROW).replace(b"\n", b"\r")),
        unread("odd.csv", "carriage returns alone"),
    ),
    Kind("a quote that is never closed", csv(HEAD + ROW + b'"open,u,k\nmore,u,k\n'), reads(2)),
    Kind(
        "a quote of 1.5 MB that is never closed",
        csv(HEAD + b'"' + b"word " * 300_000),
        fails(),
    ),
    Kind("NUL", csv(HEAD + b"a\0b c,u,odd\n"), reads()),
    Kind("NUL in a tsv", tsv(HEAD + b"a\0b c,u,odd\n"), reads()),
    Kind("escape sequences", csv(HEAD + b"\x1b[31mred,u,odd\x1b[2J\n"), reads()),
    Kind("quotes in a tsv", tsv(HEAD + b'"a "b,u,odd\n'), reads()),
    Kind(
        "a line of 20 MB",
        csv(gzip.compress(HEAD + ROW + b"x" * (20 << 20)), "odd.tsv.gz"),
        refused("no column"),
    ),
    Kind(
        "a line of 20 MB in a csv",
        csv(gzip.compress(HEAD + ROW + b"x" * (20 << 20)), "odd.csv.gz"),
        damaged("a line of more than 16,777,216 bytes (limits.json_bytes)", samples=1),
    ),
    Kind(
        "gzip that is cut",
        csv(gzip.compress(HEAD + ROW * 3)[:-9], "odd.csv.gz"),
        damaged("ends inside its gzip data", samples=None),
    ),
    Kind("gzip by the name alone", csv(HEAD + ROW, "odd.csv.gz"), reads()),
    Kind("gzip without its suffix", csv(gzip.compress(HEAD + ROW)), reads()),
    Kind("zstd", csv(b"\x28\xb5\x2f\xfd" + bytes(40)), unread("packed with zstd")),
    Kind(
        "a header of 3,000 columns",
        csv(b"text," + b",".join(b"c%d" % n for n in range(3000)) + b"\na b\n"),
        reads(),
    ),
]
