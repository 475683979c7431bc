"""The size of a usual JPEG, told from its header without a library.

    usual_jpeg_size(jpeg)     # (640, 480), or None: ask libjpeg

libjpeg's call lets go of Python's lock. A thread that reads or decodes thousands of pictures per second then
waits for it again, several times as long as the call takes.

Format: ITU-T T.81, annex B.
"""

MOST_SEGMENTS = 64  # before the first scan; cameras write a dozen
BASELINE, TABLES, SCAN = 0xC0, 0xDB, 0xDA
PASSED = frozenset((0xC4, TABLES, 0xDD, 0xFE, *range(0xE0, 0xF0)))  # also restarts, comments, APPn
SAMPLED: dict[int, set[tuple[int, ...]]] = {  # number of colours -> how often each may be sampled
    1: {(0x11,)},
    3: {(first, 0x11, 0x11) for first in (0x11, 0x12, 0x21, 0x22, 0x41)},
}


def usual_jpeg_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """(width, height) in pixels of a baseline JPEG with one scan, in grey or in three colours; None for
    anything else, and for bytes that are no JPEG.

    A picture whose first scan has all of its colours has no other: libjpeg refuses a second one.
    """
    size = None
    colours = 0
    at = 2
    try:
        for _ in range(MOST_SEGMENTS):
            kind = data[at + 1]
            if data[at] != 0xFF:
                return None
            length = data[at + 2] << 8 | data[at + 3]
            if kind == SCAN:
                whole = length == 6 + 2 * colours and at + 2 + length < len(data)
                return size if whole and data[at + 4] == colours else None
            if kind == BASELINE:
                colours = data[at + 9]
                sampled = tuple(data[at + 11 : at + 10 + 3 * colours : 3])
                if size or length != 8 + 3 * colours or data[at + 4] != 8:
                    return None
                if sampled not in SAMPLED.get(colours, ()):
                    return None
                size = data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6]
                if not all(size):
                    return None
            elif kind not in PASSED or length < 2 or (kind == TABLES and data[at + 4] > 3):
                return None
            at += 2 + length
    except IndexError:
        pass
    return None
