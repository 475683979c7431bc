"""The tables of `make gpu`, in Markdown."""

from collections.abc import Mapping
from typing import Any


def markdown(found: Mapping[str, Any]) -> str:
    """Every table, for RESULTS.md."""
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    head = f"{machine['device']}, {machine['cores']} cores, {machine['date']}, Python {machine['python']}, {packages}"
    return "\n".join(
        [head, "", *speeds(found["models"]), "", *agreements(found), "", *all_parts(found["models"])]
    )


def speeds(models: Mapping[str, Any]) -> list[str]:
    """Samples per second by model."""
    lines = [
        "| model | towers alone, samples/s | image | text | device decode | whole pass | of the towers | busy | GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, model in models.items():
        alone, whole = model["forward"], model["whole"]
        rates = [alone["both"], alone["image"], alone["text"], model["device decode"], whole["rate"]]
        cells = [label, *(f"{rate:,.0f}" for rate in rates), f"{whole['rate'] / alone['both']:.2f}"]
        cells += ["" if whole[name] is None else f"{whole[name]:.2f}" for name in ("busy", "gib")]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def agreements(found: Mapping[str, Any]) -> list[str]:
    """How far scores drift."""
    lines = [
        "| scores against | mean | 99.9 % | spread of scores | rank correlation | top-30 % cut changes |",
        "|---|---|---|---|---|---|",
    ]
    rows = {name: found[name] for name in ("bf16, trained", "device decode, trained") if name in found}
    rows |= {
        f"bf16, random {label}": model["bf16"] for label, model in found["models"].items() if "bf16" in model
    }
    for name, row in rows.items():
        cells = [f"{row[key]:.2e}" for key in ("mean", "p999", "spread")]
        cells += [f"{row['rank_correlation']:.5f}", f"{row['cut_changes']:.2%}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    others = [f"{name}: {found[name]}" for name in ("OCR", "FAISS") if name in found]
    return [*lines, "", *others]


def all_parts(models: Mapping[str, Any]) -> list[str]:
    """Samples per second of the steps before the networks."""
    parts = {name: rate for model in models.values() for name, rate in model.get("parts", {}).items()}
    return [
        "| part | samples/s |",
        "|---|---|",
        *(f"| {name} | {rate:,.0f} |" for name, rate in parts.items()),
    ]
