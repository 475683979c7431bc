"""A small report made by hand, for the tests of its page.

    planted = plant(rules=4)
    render(planted.report)
    planted.kept({"rule 1": 3, "rule 2": 0})     # what the page must say if these sliders stand there

Values are drawn, and everything else is counted row by row.
"""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from PIL import Image

ROWS = 600
STOPS = 25
KINDS = ("top", "min", "max", "bottom")  # of the rules, in turn
LOOSER_IS_LOWER = ("top", "min")
NO_VALUE = 65535
REASON = "the picture has no pixels"
BLOCK = {"points": [[4, 4], [40, 6], [40, 20], [4, 18]], "word": "SALE"}


@dataclass(frozen=True)
class Planted:
    """A report, and the values it was counted from: rule -> (n,) float64, nan where there is none."""

    report: dict[str, Any]
    values: Mapping[str, numpy.ndarray]

    def passes(self, rule: str, index: int | None = None) -> numpy.ndarray:
        """Which rows pass a rule if its slider stands at a stop; by default the recipe's."""
        panel = next(panel for panel in self.report["rules"] if panel["name"] == rule)
        slider, values = panel["slider"], self.values[rule]
        bound = slider["value"][slider["current"] if index is None else index]
        return values >= bound if panel["kind"] in LOOSER_IS_LOWER else values <= bound

    def kept(self, moved: Mapping[str, int] = {}) -> int:
        """How many rows pass all rules if some sliders stand elsewhere."""
        return int(numpy.all([self.passes(rule, moved.get(rule)) for rule in self.values], axis=0).sum())


def plant(rules: int = 4, captions: Sequence[str] = ("a dog on a beach",), pictures: bool = True) -> Planted:
    """A pool of ROWS samples with some rules, and a card for each of the captions, eight at least."""
    draws = numpy.random.default_rng(7)
    names = [f"rule {number}" for number in range(1, rules + 1)]
    values = {name: numpy.round(draws.normal(size=ROWS), 3) for name in names}
    for column in values.values():
        column[draws.choice(ROWS, 4, replace=False)] = numpy.nan
    bounds = {name: _bounds(KINDS[index % 4], values[name]) for index, name in enumerate(names)}
    verdicts = {n: _verdict(KINDS[i % 4], values[n], bounds[n][5]) for i, n in enumerate(names)}
    panels = [_panel(name, KINDS[i % 4], values, bounds, verdicts) for i, name in enumerate(names)]
    lacks = _lacks(values)
    kept = _all(verdicts)
    books = {"recipe": "test", "shards": 3, "samples": ROWS, "kept": int(kept.sum())}
    books |= {"failed": int(lacks.sum()), "dropped": int(ROWS - kept.sum() - lacks.sum()), "listed": ROWS + 9}
    books |= {"rules": {p["name"]: _count(p) for p in panels}, "lost": {"404 not found": 9}}
    books |= {"damaged": {"00002": "the tar breaks off (byte 12,800)"}, "pending": {}, "passed_over": {}}
    books |= {"speeds": {"clip": _speed(90.0, 600), "counts": _speed(0.4, 0)}, "bottleneck": "clip"}
    report = {
        "title": "What became of the pool: test",
        "recipe": "test",
        "books": books,
        "rules": panels,
        "sample": {
            "rows": ROWS,
            "exact": True,
            "stop": {n: _stops(KINDS[i % 4], values[n], bounds[n]) for i, n in enumerate(names)},
            "fixed": base64.b64encode(b"\1" * ROWS).decode(),
        },
        "overlap": _overlap(verdicts),
        "corpus": _corpus(),
        "pictures": _pictures(names, captions) if pictures else None,
        "placeholders": _placeholders(captions[0]) if pictures else None,
        "record": _record(),
    }
    return Planted(report, values)


def _bounds(kind: str, values: numpy.ndarray) -> list[float]:
    """The bounds of the stops, loosest first."""
    found = numpy.nanquantile(values, numpy.linspace(0, 1, STOPS), method="nearest")
    return [float(v) for v in (found if kind in LOOSER_IS_LOWER else found[::-1])]


def _verdict(kind: str, values: numpy.ndarray, bound: float) -> numpy.ndarray:
    return values >= bound if kind in LOOSER_IS_LOWER else values <= bound


def _all(verdicts: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
    """Which rows pass all rules."""
    return numpy.all(list(verdicts.values()), axis=0) if verdicts else numpy.ones(ROWS, bool)


def _lacks(values: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
    """Which rows have no value for a rule."""
    return numpy.isnan(list(values.values())).any(axis=0) if values else numpy.zeros(ROWS, bool)


def _alone(verdicts: Mapping[str, numpy.ndarray], rule: str, values: numpy.ndarray) -> int:
    """How many rows fail this rule and pass all others."""
    others = _all({name: verdict for name, verdict in verdicts.items() if name != rule})
    return int((others & ~verdicts[rule] & ~numpy.isnan(values)).sum())


def _panel(
    name: str,
    kind: str,
    values: Mapping[str, numpy.ndarray],
    bounds: Mapping[str, Sequence[float]],
    verdicts: Mapping[str, numpy.ndarray],
) -> dict[str, Any]:
    """A rule with its histogram, and its slider, counted at every stop."""
    own, passes = values[name], verdicts[name]
    edges = numpy.linspace(numpy.nanmin(own), numpy.nanmax(own), 41)
    kept = own[_all(verdicts)]
    sign = ">=" if kind in LOOSER_IS_LOWER else "<="
    slider: dict[str, Any] = {
        "set": [f"keep.{name}.{kind}={bound:g}" for bound in bounds[name]],
        "label": [f"{sign} {bound:g}" for bound in bounds[name]],
        "value": list(bounds[name]),
        "current": 5,
    }
    others = [other for other in values if other != name]
    slider |= {key: [] for key in ("passes", "kept", "fails_only", "dropped")}
    slider |= {key: {other: [] for other in others} for key in ("passes_with", "other_fails_only")}
    for bound in bounds[name]:
        moved = {**verdicts, name: _verdict(kind, own, bound)}
        slider["passes"].append(int(moved[name].sum()))
        slider["kept"].append(int(_all(moved).sum()))
        slider["fails_only"].append(_alone(moved, name, own))
        slider["dropped"].append(int(ROWS - _lacks(values).sum() - _all(moved).sum()))
        for other in others:
            slider["passes_with"][other].append(int((moved[name] & moved[other]).sum()))
            slider["other_fails_only"][other].append(_alone(moved, other, values[other]))
    return {
        "name": name,
        "column": name,
        "bound": slider["label"][5],
        "kind": kind,
        "missing": "drop",
        "passes": int(passes.sum()),
        "fails": int((~passes & ~numpy.isnan(own)).sum()),
        "fails_only": slider["fails_only"][5],
        "of_remaining": False,
        "dropped": 10,
        "failed": {REASON: int(numpy.isnan(own).sum())},
        "cut": None,
        "histogram": {
            "edges": edges.tolist(),
            "all": numpy.histogram(own[~numpy.isnan(own)], edges)[0].tolist(),
            "kept": numpy.histogram(kept, edges)[0].tolist(),
            "below": 2,
            "above": 0,
            "labels": None,
        },
        "slider": slider,
    }


def _count(panel: Mapping[str, Any]) -> dict[str, Any]:
    """A rule's counts, as the books hold them."""
    slider = panel["slider"]
    keys = ("column", "bound", "cut", "passes", "fails", "fails_only", "dropped", "failed")
    both = {other: counts[slider["current"]] for other, counts in slider["passes_with"].items()}
    return {**{key: panel[key] for key in keys}, "passes_with": both}


def _stops(kind: str, values: numpy.ndarray, bounds: Sequence[float]) -> str:
    """For each row how many stops it passes, as the page reads it."""
    passed = numpy.sum([_verdict(kind, values, bound) for bound in bounds], axis=0)
    passed[numpy.isnan(values)] = NO_VALUE
    return base64.b64encode(passed.astype("<u2").tobytes()).decode()


def _speed(seconds: float, rows: int) -> dict[str, Any]:
    rate = rows / seconds
    return {"rows": rows, "seconds": seconds, "rows_per_second": rate, "busy": seconds}


def _overlap(verdicts: Mapping[str, numpy.ndarray]) -> list[dict[str, Any]]:
    """Sets of rules that rows fail, most frequent first."""
    rows = zip(*verdicts.values(), strict=True) if verdicts else []
    found = Counter(tuple(name for name, ok in zip(verdicts, row, strict=True) if not ok) for row in rows)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    sets: list[dict[str, Any]] = [{"fails": list(fails), "count": n} for fails, n in ordered[:40]]
    return [*sets, {"fails": None, "count": sum(n for _, n in ordered[40:])}]


def _corpus() -> list[dict[str, Any]]:
    """One chart of each kind."""
    ranks = [1, 2, 5, 10, 100]
    steps = {"kind": "steps", "edges": [0, 2, 4, 8, 16], "all": [9, 30, 60, 5], "kept": [0, 20, 50, 4]}
    lines = {"kind": "loglog", "ranks": ranks, "all": [900, 400, 90, 20, 1], "kept": [500, 300, 80, 20, 0]}
    texts = {"kind": "bars", "labels": ["example.org", "<b>&amp;"], "all": [400, 200], "kept": [300, 10]}
    return [
        {"title": "Words of a caption", "note": "the longest has 16", **steps},
        {"title": "Domains", "note": None, **texts},
        {"title": "Frequency of words", "note": None, **lines},
    ]


def data_uri(number: int, size: tuple[int, int] = (96, 64)) -> str:
    """A small picture in one colour, as a data URI."""
    out = io.BytesIO()
    Image.new("RGB", size, (number * 53 % 256, number * 97 % 256, 150)).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def _card(number: int, caption: str, names: Sequence[str]) -> dict[str, Any]:
    """A sample with everything; every fifth one has no picture, every seventh no caption."""
    fate = ("kept", "dropped", "failed")[number % 3]
    rules = [
        {"rule": name, "value": 0.125 * number, "bound": ">= 0.2", "verdict": "passes", "why": None}
        for name in names
    ]
    if rules and fate != "kept":
        verdict = "no value" if fate == "failed" else "fails"
        rules[0] |= {"verdict": verdict, "why": REASON if fate == "failed" else None}
    return {
        "uid": f"{number:032x}",
        "shard": "00000",
        "key": f"{number:09d}",
        "fate": fate,
        "captions": [] if number % 7 == 6 else [caption, "another caption"] if number % 4 == 3 else [caption],
        "url": "https://example.org/a.jpg",
        "width": 640,
        "height": 480,
        "lacks": None,
        "rules": rules,
        "picture": None if number % 5 == 4 else data_uri(number),
        "why_no_picture": "the JPEG cannot be decoded" if number % 5 == 4 else None,
        "boxes": [BLOCK],
        "masked": data_uri(number + 100),
        "evidence": {"outlier": [{"neighbour": "00000 3", "distance": 0.25}]},
        "neighbours": [str((number + 1) % 8), "gone"],
    }


def _pictures(names: Sequence[str], captions: Sequence[str]) -> dict[str, Any]:
    """Groups of each kind for the first rule, the edge for the others, and two groups of no rule."""
    number = max(8, len(captions))
    ids = [str(index) for index in range(number)]
    cards = {id: _card(int(id), captions[int(id) % len(captions)], names) for id in ids}
    kinds = ("just_kept", "just_dropped", "only", "lowest", "highest")
    groups = [
        {"rule": name, "kind": kind, "title": kind.replace("_", " ").capitalize(), "ids": ids}
        for place, name in enumerate(names)
        for kind in (kinds if place == 0 else kinds[:2])
    ]
    groups.append({"rule": None, "kind": "random", "title": "Random samples", "ids": ids})
    groups.append({"rule": None, "kind": "failed", "title": "Failed", "ids": []})
    return {"groups": groups, "cards": cards}


def _placeholders(caption: str) -> dict[str, Any]:
    picture = {"count": 1200, "captions": 1100, "shown": ["0", "1"], "checked": 6, "identical": 6}
    return {
        "pictures": [picture],
        "captions": [{"count": 90, "caption": caption, "pictures": 80, "shown": ["2"]}],
        "told_by": "file size, width and height",
    }


def _record() -> dict[str, Any]:
    return {
        "recipe_yaml": "name: test\nkeep:\n  rule 1: {top: 0.8}\n# </script><script>alert(1)</script>\n",
        "versions": {"winnow": "0.1.0", "polars": "1.30.0"},
        "keys": {"clip": "ab" * 16},
        "cuts": {"rule 1": 0.281},
        "pool": {"root": "/data/pool", "shards": 3, "samples": ROWS, "identity": "cd" * 16},
        "decision": "ef" * 16,
    }
