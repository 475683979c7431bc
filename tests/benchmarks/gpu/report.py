"""The tables of `make gpu`, in Markdown."""

from collections.abc import Mapping
from typing import Any

WAYS = ("exact", "fast")


def markdown(found: Mapping[str, Any]) -> str:
    """Every table, for RESULTS.md."""
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    head = [
        f"{machine['device']}, {machine['cores']} cores, {machine['date']},",
        f"Python {machine['python']},",
    ]
    tables = [
        speeds(found["models"]),
        whole_passes(found["models"]),
        agreements(found),
        parts(found["models"]),
    ]
    test = (
        []
        if machine["device"] != "none"
        else ["", "**A self-test on a CPU**, with a tiny model: no figures of a GPU."]
    )
    return "\n".join([" ".join(head), packages, *test, *(line for table in tables for line in ("", *table))])


def in_words(found: object) -> str:
    """Figures with their names, to four digits, on one line."""
    if isinstance(found, Mapping):
        return ", ".join(f"{name} {in_words(value)}" for name, value in found.items())
    return f"{found:,.4g}" if isinstance(found, float) else str(found)


def speeds(models: Mapping[str, Any]) -> list[str]:
    """Samples per second of the towers, and from JPEGs in memory that the device decodes."""
    lines = ["| model | both towers | image | text | with device decode |", "|---|---|---|---|---|"]
    for label, model in models.items():
        alone = model["forward"]
        rates = [alone["both"], alone["image"], alone["text"], model["device decode"]]
        lines.append(f"| {' | '.join([label, *(f'{rate:,.0f}' for rate in rates)])} |")
    return lines


def whole_passes(models: Mapping[str, Any]) -> list[str]:
    """Samples per second of `winnow compute --local`."""
    lines = [
        "| whole pass | samples/s | of both towers | device busy | device GiB | resized on the device |",
        "|---|---|---|---|---|---|",
    ]
    for label, model in models.items():
        for way, run in model.items():
            if way.startswith(WAYS) and "rate" in run:
                share = run["rate"] / model["forward"]["both"]
                told = ["" if run[name] is None else f"{run[name]:.2f}" for name in ("busy", "gib")]
                told.append("yes" if run["resized on the device"] else "no")
                lines.append(f"| {label}, {way} | {run['rate']:,.0f} | {share:.2f} | {' | '.join(told)} |")
    return lines


def agreements(found: Mapping[str, Any]) -> list[str]:
    """How far scores drift."""
    lines = [
        "| scores against | mean | 99.9 % | spread of scores | rank correlation | top-30 % cut changes |",
        "|---|---|---|---|---|---|",
    ]
    rows = {name: row for name, row in found.items() if name.endswith(", trained")}
    for label, model in found["models"].items():
        for name in ("bf16", "fast against exact"):
            if name in model:
                rows[f"{name}, random {label}"] = model[name]
    for name, row in rows.items():
        cells = [f"{row[key]:.1e}" for key in ("mean", "p999", "spread")]
        cells += [f"{row['rank_correlation']:.6f}", f"{row['cut_changes']:.2%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    others = [f"{name}: {in_words(found[name])}" for name in ("OCR", "FAISS") if name in found]
    return [*lines, "", *others]


def parts(models: Mapping[str, Any]) -> list[str]:
    """Samples per second of the steps beside the networks."""
    lines = ["| part | samples/s |", "|---|---|"]
    for label, model in models.items():
        lines += [f"| {label}, {name} | {rate:,.0f} |" for name, rate in model.get("parts", {}).items()]
    return lines
