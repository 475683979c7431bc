"""What each kind of input leads to: status, CPU seconds, memory above a run over sound shards, and what is
wrong by the laws.

    python -m tests.corpus
    python -m tests.corpus --family tar --name pax
"""

import argparse
import tempfile
from pathlib import Path

from tests.corpus.families import ALONE, FAMILIES
from tests.corpus.laws import LAWS
from tests.corpus.walk import walk
from tests.support.warm import Warm


def main() -> None:
    """Walk the kinds, a line each, and the laws that do not hold; then how many there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="", help="only families whose name holds this")
    parser.add_argument("--name", default="", help="only kinds whose name holds this")
    parser.add_argument("--said", action="store_true", help="show what `run` said")
    given = parser.parse_args()
    chosen = [
        (family, kind)
        for family, kinds in FAMILIES.items()
        for kind in kinds
        if given.family in family and given.name in kind.name
    ]
    bad = 0
    with Warm(torch=True) as warm, tempfile.TemporaryDirectory(prefix="corpus") as root:
        alone = walk(warm, ALONE, Path(root, "alone"))
        for number, (family, kind) in enumerate(chosen):
            walked = walk(warm, kind, Path(root, str(number)))
            wrong = [f"{law}: {fault}" for law, check in LAWS.items() for fault in check(walked, alone)]
            bad += bool(wrong)
            status = walked.main.returncode if walked.main else "hangs"
            more = walked.megabytes - alone.megabytes
            print(
                f"{family:12} {kind.name:64} {status:>5} {walked.seconds:5.2f} s {more:6.0f} MB", flush=True
            )
            for line in wrong:
                print(f"    WRONG {line}")
            if given.said:
                print(f"    {walked.said[:1500]}")
    print(f"{len(chosen)} kinds, {bad} of them wrong")


if __name__ == "__main__":
    main()
