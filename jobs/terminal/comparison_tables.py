"""Tables about two cuts of a pool for people."""

from typing import TYPE_CHECKING

from jobs.terminal.console import Console
from jobs.terminal.tables import counted, share, table

if TYPE_CHECKING:
    from pipeline.view.comparison.results import Comparison, Loss


def comparison(result: "Comparison", out: Console) -> None:
    """Both cuts, their rules that differ, and what each keeps that the other does not."""
    cuts = table("Cuts", "", "recipe", "samples", "kept", "share", text=2)
    for name, cut in (("A", result.a), ("B", result.b)):
        cuts.add_row(name, cut.recipe, f"{cut.samples:,}", f"{cut.kept:,}", share(cut.kept, cut.samples))
    out.print(cuts)
    _bounds(result, out)
    _loss("A keeps, B does not", "B", result.only_a, out)
    _loss("B keeps, A does not", "A", result.only_b, out)
    either = result.kept_both + result.only_a.samples + result.only_b.samples
    out.print(
        f"both keep {result.kept_both:,}, A alone {result.only_a.samples:,}, B alone {result.only_b.samples:,}: "
        f"{share(result.kept_both, either)} of what either keeps (Jaccard {result.jaccard:.3f})"
    )
    out.print(f"matched by {result.matched_by}: {counted(result.in_both, 'sample')} in both pools")
    for name, count in (("A", result.in_a), ("B", result.in_b)):
        if count:
            out.print(f"  only in the pool of {name}: {counted(count, 'sample')}")


def _bounds(result: "Comparison", out: Console) -> None:
    """The rules that differ; rules with equal bounds are counted."""
    differ = [pair for pair in result.bounds if not pair.same]
    if differ:
        rows = table("Rules that differ", "rule", "A", "B", text=3)
        for pair in differ:
            rows.add_row(pair.rule, pair.a or "-", pair.b or "-")
        out.print(rows)
    if same := len(result.bounds) - len(differ):
        out.print(f"{counted(same, 'rule')} with equal bounds")


def _loss(title: str, other: str, loss: "Loss", out: Console) -> None:
    """What one cut keeps and the other does not, by the other's rules."""
    if not loss.samples:
        out.print(f"{title}: none")
        return
    rows = table(f"{title}: {loss.samples:,}", f"rule of {other}", "first", "fails", "no value", "alone")
    for name, rule in loss.rules.items():
        if rule.fails or rule.no_value:
            rows.add_row(name, *(f"{n:,}" for n in (rule.first, rule.fails, rule.no_value, rule.alone)))
    if loss.absent:
        rows.add_row(f"(not in the pool of {other})", f"{loss.absent:,}", "", "", "")
    out.print(rows)
