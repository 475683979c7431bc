"""The environment that the commands run in."""

from tests.corpus.kind import Build, Kind, Outcome, reads
from tests.corpus.pool import OddPool

CLUSTER = Outcome(2, ("RAY_ADDRESS", "or use --local"), None)  # `winnow plan` needs no cluster


def local(pool: OddPool) -> None:
    """A sound sample, in the plain loop."""
    pool.sample()


def on_ray(pool: OddPool) -> None:
    """A sound sample, on Ray; which must not start."""
    pool.sample()
    pool.local = False
    pool.exported = False


def ray(name: str, address: str) -> Kind:
    """A RAY_ADDRESS where no cluster is."""
    return Kind(f"on Ray: {name}", on_ray, CLUSTER, {"RAY_ADDRESS": address})


def plain(name: str, build: Build = local, **variables: str | None) -> Kind:
    """Variables that change nothing."""
    return Kind(name, build, reads(1), variables)


KINDS = [
    ray("the address of a dashboard", "http://127.0.0.1:8265"),
    ray("a closed port", "127.0.0.1:1"),
    ray("a closed port of a client's address", "ray://127.0.0.1:1"),
    ray("a port out of range", "127.0.0.1:99999"),
    ray("escape sequences", "\x1b[31m:6379"),
    ray("words", "the cluster"),
    ray("a host that does not exist", "no-such-host.invalid:6379"),
    plain("in the loop: the address of a dashboard", RAY_ADDRESS="http://127.0.0.1:8265"),
    plain("in the loop: a closed port", RAY_ADDRESS="127.0.0.1:1"),
    plain("a language that is not UTF-8", LANG="C", LC_ALL="C"),
    plain("no language", LANG=None, LC_ALL=None, LC_CTYPE=None),
    plain("stdout in Latin-1", PYTHONIOENCODING="latin-1"),
    plain("no colours", NO_COLOR="1"),
    plain("colours", FORCE_COLOR=None, CLICOLOR_FORCE="0"),
    plain("a terminal of 20 columns", COLUMNS="20", LINES="5"),
    plain("a terminal of no columns", COLUMNS="0"),
    plain("columns that are no number", COLUMNS="wide"),
    plain("a dumb terminal", TERM="dumb"),
    plain("no terminal", TERM=None),
    plain("no HOME", HOME=None, USER=None, LOGNAME=None),
    plain("a HOME that does not exist", HOME="/no/such/folder"),
    plain("a TMPDIR that does not exist", TMPDIR="/no/such/folder"),
    plain("a TMPDIR of 120 bytes", TMPDIR="/tmp/" + "x" * 115),
    plain("an unknown time zone", TZ="Nowhere/None"),
    plain("a proxy that is not there", http_proxy="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1"),
    plain("threads that are no number", OMP_NUM_THREADS="many"),
    plain("one thread", OMP_NUM_THREADS="1", POLARS_MAX_THREADS="1"),
    plain("a seed of hashes", PYTHONHASHSEED="5"),
]
