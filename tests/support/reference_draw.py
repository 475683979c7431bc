"""The draw of a `chance` rule in plain Python, after the published generator, for tests to compare with."""

MASK = 2**64 - 1


def splitmix64(state: int) -> int:
    """The reference generator's next output (Steele, Lea, Flood 2014; Vigna's splitmix64.c)."""
    state = (state + 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def reference_draw(seed: int, uid: str) -> float:
    high, low = int(uid[:16], 16), int(uid[16:], 16)
    return (splitmix64(splitmix64(splitmix64(seed) ^ high) ^ low) >> 11) / 2**53
