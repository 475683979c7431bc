"""Pictures."""

from tests.corpus.kind import Build, Kind, fails
from tests.corpus.pool import OddPool
from tests.support.samples import picture


def image(data: bytes, suffix: str = "jpg") -> Build:
    """A sample with this picture."""

    def build(pool: OddPool) -> None:
        pool.sample({suffix: data}, without=() if suffix == "jpg" else ("jpg",))

    return build


KINDS = [
    Kind("a JPEG that is cut", image(picture(9, 64, 64, "JPEG")[:300]), fails()),
    Kind("empty", image(b""), fails()),
]
