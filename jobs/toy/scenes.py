"""Drawn scenes with captions: they stand for photographs in the sample pool and in training.

A scene is one to three groups of things, each with a colour, a size and a count, side by side or one above
the other, on a background that has a name. Everything that a caption says can be seen in the picture, so a
model can learn to tell a picture's own caption from another's. Nothing has to be downloaded.

A bias is planted: eight of ten hearts are red, where one of ten things has each colour otherwise.

To look at some: `python -m jobs.toy.sample_pool OUT --shards 1 --per-shard 50`
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

COLOURS: dict[str, tuple[Colour, tuple[str, ...]]] = {  # name: RGB, words for it
    "red": ((214, 32, 36), ("red", "red", "scarlet", "crimson")),
    "orange": ((244, 132, 22), ("orange",)),
    "yellow": ((248, 218, 38), ("yellow", "yellow", "golden")),
    "green": ((30, 148, 54), ("green", "green", "emerald")),
    "blue": ((36, 72, 214), ("blue", "blue", "dark blue")),
    "purple": ((126, 38, 160), ("purple", "violet")),
    "pink": ((248, 138, 190), ("pink", "pink", "rosy")),
    "brown": ((116, 66, 30), ("brown", "chocolate brown")),
    "black": ((24, 24, 26), ("black", "black", "jet black")),
    "white": ((246, 246, 246), ("white", "white", "snow-white")),
}
HABITS = {"heart": ("red", ("pink", "white"))}  # a thing: its usual colour, and those that it has else
PAINTS: dict[str, Colour] = {
    "bark": (92, 58, 30),
    "tyre": (20, 20, 20),
    "leaf": (26, 104, 36),
    "sun": (250, 206, 40),
    "sail": (246, 240, 226),
}
# One thing per line: its words, then its parts as "primitive paint x y ...", with x and y in hundredths of
# the thing's square. `pieslice` is the upper half of its ellipse.
DRAWINGS = """
ball|circle|disc: ellipse main 0 0 100 100; ellipse light 20 15 42 35
box|square|cube: rectangle main 4 4 96 96; line edge 4 40 96 40
triangle|pyramid: polygon main 50 0 100 95 0 95
star|five-pointed star: polygon main 50 0 62 36 100 38 70 60 81 97 50 75 19 97 30 60 0 38 38 36
ring|hoop: arc main 0 0 100 100
cross|plus sign: polygon main 34 0 66 0 66 34 100 34 100 66 66 66 66 100 34 100 34 66 0 66 0 34 \
34 34
heart|love heart: polygon main 6 48 94 48 50 100; ellipse main 0 2 54 62; ellipse main 46 2 100 62
house|cottage|hut: rectangle main 12 42 88 100; polygon dark 50 0 100 44 0 44; rectangle light 42 \
64 60 100
tree|leafy tree: rectangle bark 42 60 58 100; ellipse main 10 0 90 72
car|automobile: polygon light 22 50 34 22 70 22 82 50; rectangle main 0 46 100 74; ellipse tyre \
12 62 36 88; ellipse tyre 64 62 88 88
fish: polygon dark 62 50 100 20 100 80; ellipse main 0 22 76 78; ellipse tyre 14 38 24 48
flower|blossom: rectangle leaf 47 50 53 100; ellipse main 32 0 68 30; ellipse main 32 36 68 66; \
ellipse main 16 17 48 50; ellipse main 52 17 84 50; ellipse sun 40 24 60 44
boat|sailing boat: polygon main 0 66 100 66 82 96 18 96; polygon sail 50 0 50 60 90 60; line edge \
50 0 50 66
mushroom|toadstool: rectangle sail 38 46 62 100; pieslice main 0 4 100 100; ellipse sail \
26 20 42 36; ellipse sail 58 20 74 36
cup|mug: arc main 60 30 100 74; polygon main 4 14 80 14 70 94 14 94
arrow|pointer: polygon main 0 36 56 36 56 10 100 50 56 90 56 64 0 64
"""
WORDS: dict[str, list[str]] = {}
PARTS: dict[str, list[tuple[str, str, list[float]]]] = {}
for _line in DRAWINGS.strip().splitlines():
    _words, _, _parts = _line.partition(": ")
    _fields = [part.split() for part in _parts.split("; ")]
    WORDS[_words.split("|")[0]] = _words.split("|")
    PARTS[_words.split("|")[0]] = [(f[0], f[1], [int(n) / 100 for n in f[2:]]) for f in _fields]
# Things that no random scene shows; they are drawn on request only.
EXTRA: dict[str, list[tuple[str, str, list[float]]]] = {
    "banana": [
        (
            "polygon",
            "main",
            [
                n / 100
                for n in (4, 30, 14, 62, 40, 88, 72, 92, 98, 76, 96, 66, 72, 70, 46, 60, 28, 40, 20, 22)
            ],
        ),
        ("polygon", "bark", [0.04, 0.3, 0.2, 0.22, 0.14, 0.06, 0.06, 0.08]),
    ]
}
SIZES = {"small": 0.42, "medium": 0.68, "large": 0.95}  # a thing's side, as a share of its cell's
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
COUNT_WORDS = {2: ("two", "two", "2", "a pair of"), 3: ("three", "three", "3"), 4: ("four", "4")}
BACKGROUNDS: dict[str, tuple[str, ...]] = {
    "grass": ("on the grass", "on a green lawn", "in a meadow", "with grass behind"),
    "sand": ("on the sand", "at the beach", "in the sandy desert"),
    "water": ("on the water", "in the sea", "over blue waves"),
    "brick": ("in front of a brick wall", "against red bricks", "on a brick wall"),
    "wood": ("on a wooden table", "on wooden boards", "against a wood panel"),
    "snow": ("in the snow", "on a snowy field", "with snow all around"),
    "night": ("in the night sky", "under the stars", "at night among stars"),
    "stripes": ("on a striped background", "with stripes behind", "on striped wallpaper"),
    "dots": ("on a dotted background", "on polka dots", "with a spotted pattern"),
    "noise": ("on grey static", "on a noisy TV screen", "with static noise behind"),
    "plain": ("on a plain background", "against a plain wall", "with nothing behind"),
}
FRAMES = (
    "{}",
    "{}",
    "{}",
    "a photo of {}",
    "picture of {}",
    "an image showing {}",
    "a drawing of {}",
    "here you can see {}",
    "{} - stock photo",
    "close-up of {}",
    "illustration: {}",
    "look, {}",
    "I see {} in this picture",
    "we found {} today",
    "my new print of {}",
    "scene with {}",
)
ACROSS = (("to the left of", "left of", "beside"), ("to the right of", "right of", "next to"))
STACKED = (("above", "over", "on top of"), ("below", "under", "beneath"))


@dataclass(frozen=True)
class Group:
    """`count` equal things of one colour and size."""

    thing: str
    colour: str
    size: str
    count: int


@dataclass(frozen=True)
class Scene:
    """Groups from left to right (`across`) or from top to bottom, on a background."""

    groups: tuple[Group, ...]
    across: bool
    background: str


def random_scene(rng: random.Random) -> Scene:
    """A scene of one or two groups, sometimes three, of different things."""
    things = rng.sample(list(PARTS), rng.choice((1, 1, 2, 2, 2, 3)))
    counts = (1, 1, 1, 2, 3, 4) if len(things) < 3 else (1,)
    groups = tuple(
        Group(thing, usual(thing, rng.choice(list(COLOURS))), rng.choice(list(SIZES)), rng.choice(counts))
        for thing in things
    )
    return Scene(groups, rng.random() < 0.5, rng.choice(list(BACKGROUNDS)))


def usual(thing: str, colour: str) -> str:
    """The colour of a thing for which `colour` was drawn: another one if it has a habit."""
    habit, others = HABITS.get(thing, (colour, ()))
    return colour if colour in others else habit


def describe(scene: Scene, rng: random.Random) -> str:
    """A caption in one of many wordings. It names every thing and colour, mostly also the background."""
    phrases = [_phrase(group, rng) for group in scene.groups]
    if len(phrases) == 2 and rng.random() < 0.75:
        turned = rng.random() < 0.4
        words = rng.choice((ACROSS if scene.across else STACKED)[turned])
        text = f" {words} ".join(reversed(phrases) if turned else phrases)
    else:
        text = " and ".join((", ".join(phrases[:-1]), phrases[-1])) if phrases[1:] else phrases[0]
    if rng.random() < 0.7:
        text = f"{text} {rng.choice(BACKGROUNDS[scene.background])}"
    text = rng.choice(FRAMES).format(text)
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.3 else text


def _phrase(group: Group, rng: random.Random) -> str:
    """A group in words, such as `two small red boxes`."""
    noun = rng.choice(WORDS[group.thing]) if rng.random() < 0.5 else group.thing
    words = [rng.choice(COLOURS[group.colour][1]), noun]
    if group.size in SIZE_WORDS and rng.random() < 0.7:
        words.insert(0, rng.choice(SIZE_WORDS[group.size]))
    if group.count == 1:
        return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])
    words[-1] = noun if noun == "fish" else noun + ("es" if noun[-1] in "sx" else "s")
    return " ".join([rng.choice(COUNT_WORDS[group.count]), *words])


def render(scene: Scene, rng: random.Random, width: int, height: int) -> Image.Image:
    """The scene as an RGB picture. The things are in the central square, as in most photographs."""
    side = 1 << max(width, height).bit_length()
    backdrop = texture(scene.background, rng.randrange(4), side)
    left, top = rng.randint(0, side - width), rng.randint(0, side - height)
    image = backdrop.crop((left, top, left + width, top + height))
    canvas, square = ImageDraw.Draw(image), min(width, height)
    part = square / len(scene.groups)
    for position, group in enumerate(scene.groups):
        x, y = (width - square) / 2, (height - square) / 2
        if scene.across:
            _draw_group(canvas, group, (x + position * part, y, part, square), rng)
        else:
            _draw_group(canvas, group, (x, y + position * part, square, part), rng)
    return image


def _draw_group(
    canvas: ImageDraw.ImageDraw, group: Group, region: Sequence[float], rng: random.Random
) -> None:
    """Draw a group's things in the cells of a grid; `region` is left, top, width, height in pixels."""
    left, top, wide, high = region
    columns, rows = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2)}[group.count]
    if group.count == 3 and wide == high:
        columns, rows = 2, 2
    elif high > wide:
        columns, rows = rows, columns
    wide, high = wide / columns, high / rows
    side = SIZES[group.size] * min(wide, high) * rng.uniform(0.92, 1.0)
    paint = _shift(COLOURS[group.colour][0], rng)
    parts = PARTS.get(group.thing) or EXTRA[group.thing]
    for index in range(group.count):
        x = left + index % columns * wide + rng.random() * (wide - side)
        y = top + index // columns * high + rng.random() * (high - side)
        _draw_thing(canvas, parts, paint, (x, y, side))


def _draw_thing(
    canvas: ImageDraw.ImageDraw,
    parts: list[tuple[str, str, list[float]]],
    main: Colour,
    square: tuple[float, float, float],
) -> None:
    """Draw one thing's parts in a square: left, top, side in pixels."""
    x, y, side = square
    edge = (90, 90, 90) if sum(main) < 150 else _mix(main, 0, 0.65)
    shades = {"main": main, "dark": _mix(main, 0, 0.4), "light": _mix(main, 255, 0.6), "edge": edge}
    paints, line = PAINTS | shades, max(1, round(side / 40))
    for primitive, paint, numbers in parts:
        points = [(y if i % 2 else x) + side * number for i, number in enumerate(numbers)]
        if primitive == "arc":
            canvas.arc(points[:4], 0, 360, paints[paint], max(2, round(side / 7)))
        elif primitive == "pieslice":
            canvas.pieslice(points[:4], 180, 360, paints[paint], edge, line)
        elif primitive == "line":
            canvas.line(points, paints[paint], line)
        else:
            getattr(canvas, primitive)(points, paints[paint], edge, width=line)


def _mix(colour: Colour, towards: int, share: float) -> Colour:
    """The colour, moved by a share towards a grey of that value."""
    red, green, blue = (round(c + (towards - c) * share) for c in colour)
    return red, green, blue


def _shift(colour: Colour, rng: random.Random) -> Colour:
    """The colour, a little off at random."""
    red, green, blue = (min(255, max(0, c + rng.randint(-14, 14))) for c in colour)
    return red, green, blue


@lru_cache(maxsize=96)  # 11 backgrounds in 4 variants, at the one or two sizes of a pool
def texture(background: str, variant: int, side: int) -> Image.Image:
    """A square of a background, `side` pixels wide. The same arguments give the same picture."""
    rng = np.random.default_rng([list(BACKGROUNDS).index(background), variant])
    y, x = np.mgrid[:side, :side] * (32 / side)  # 32 units per side: patterns grow with the picture
    grain = rng.normal(size=(side, side))
    patterns: dict[str, tuple[int, int, Callable[[], Any]]] = {  # low, high, function
        "grass": (0x2F6A1C, 0x7CB43E, lambda: 0.5 + 0.3 * np.sin(9 * x + 2 * grain) + 0.1 * grain),
        "sand": (0xC8AA72, 0xEED8A6, lambda: 0.5 + 0.2 * grain + 0.2 * np.sin(x / 3 + np.sin(y))),
        "water": (0x1E68AA, 0x78BEE2, lambda: 0.5 + np.sin(2 * y + 2 * np.sin(x / 2 + variant))),
        "brick": (0xCEC4B8, 0xA04834, lambda: (y % 2 > 0.3) & ((x + y // 2 % 2 * 2) % 4 > 0.3)),
        "wood": (0x8E5E34, 0xBE8C58, lambda: 0.5 + np.sin(1.5 * y + np.sin(x / 9 + variant))),
        "snow": (0xD6DEEA, 0xFCFEFF, lambda: 0.7 + 0.3 * grain),
        "night": (0x0C102E, 0xFFFADC, lambda: rng.random((side, side)) < 6 / side),
        "stripes": (0xD6CEEC, 0x707E96, lambda: np.sin(x + (variant - 1.5) * y / 2) > 0),
        "dots": (0xFAF4E2, 0xE2786E, lambda: np.hypot(x % 4 - 2, y % 4 - 2) < 1.2),
        "noise": (0x303030, 0xD0D0D0, lambda: 0.5 + 0.4 * grain),
        "plain": (0xB8BEC4, 0xDEDEE0, lambda: np.full_like(x, variant / 3)),
    }
    low, high, pattern = patterns[background]
    share = np.clip(pattern() + 0.02 * grain, 0, 1)[..., None]
    ends = [np.array([paint >> 16, paint >> 8 & 255, paint & 255]) for paint in (low, high)]
    return Image.fromarray((ends[0] * (1 - share) + ends[1] * share).astype(np.uint8))
