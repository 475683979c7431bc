"""Cuts that are moved in the page: the numbers equal those that were counted row by row."""

import re

import pytest

from tests.support.page_report import ROWS, STOPS, plant

PLANTED = plant(rules=4)


def panel(rule: str) -> dict:
    return next(panel for panel in PLANTED.report["rules"] if panel["name"] == rule)


def number(text: str) -> int:
    """`232+12` is 232 and its difference; the number alone."""
    return int(re.match(r"[\d,]+", text)[0].replace(",", ""))


def move(page, rule: str, index: int) -> None:
    """Put a rule's slider to a stop; to the right are higher values."""
    at = index if panel(rule)["kind"] in ("top", "min") else STOPS - 1 - index
    page.locator(f'input[type=range][data-rule="{rule}"]').evaluate(
        "(input, at) => { input.value = at; input.dispatchEvent(new Event('input')); }", at
    )


def tiles(page, rule: str) -> dict[str, str]:
    """Name -> number, of a panel."""
    dl = page.locator(f'dl.tiles[data-rule="{rule}"]')
    names, numbers = dl.locator("dt").all_text_contents(), dl.locator("dd .number").all_text_contents()
    return dict(zip(names, numbers, strict=True))


def others(page, rule: str) -> dict[str, list[int]]:
    """Other rule -> samples that pass both, and that fail both."""
    rows = page.locator(f'article:has(dl[data-rule="{rule}"]) tr[data-other]').all()
    return {
        row.get_attribute("data-other"): [number(n) for n in row.locator("td").all_text_contents()]
        for row in rows
    }


def test_before_anything_is_moved_the_numbers_are_those_of_the_books(show):
    page = show(PLANTED.report)
    for rule in PLANTED.values:
        told = tiles(page, rule)
        assert number(told["Kept in all"]) == PLANTED.report["books"]["kept"] == PLANTED.kept()
        assert number(told["Pass this rule"]) == panel(rule)["passes"]
        assert number(told["Dropped by it alone"]) == panel(rule)["fails_only"]
    assert not page.locator("#whatif").is_visible()


@pytest.mark.parametrize("rule", list(PLANTED.values))
@pytest.mark.parametrize("index", [0, 1, 12, STOPS - 1])
def test_one_cut_gives_the_numbers_of_its_stop(show, rule, index):
    page, slider = show(PLANTED.report), panel(rule)["slider"]
    move(page, rule, index)
    told = tiles(page, rule)
    assert number(told["Kept in all"]) == slider["kept"][index] == PLANTED.kept({rule: index})
    assert number(told["Pass this rule"]) == int(PLANTED.passes(rule, index).sum())
    assert number(told["Dropped by it alone"]) == slider["fails_only"][index]
    assert told["Share kept"] == f"{slider['kept'][index] / ROWS:.1%}"
    for other in PLANTED.values:
        told = tiles(page, other)
        assert number(told["Kept in all"]) == slider["kept"][index]
        if other != rule:
            assert number(told["Dropped by it alone"]) == slider["other_fails_only"][other][index]
            assert others(page, rule)[other][0] == slider["passes_with"][other][index]
            assert others(page, other)[rule][0] == slider["passes_with"][other][index]
    assert page.locator("#whatif code").text_content() == f"--set '{slider['set'][index]}'"
    assert number(page.locator("#whatif-dropped").text_content()) == slider["dropped"][index]


def test_several_cuts_are_counted_in_the_sample(show):
    page, moved = show(PLANTED.report), {"rule 1": 9, "rule 3": 0, "rule 4": 14}
    for rule, index in moved.items():
        move(page, rule, index)
    kept = PLANTED.kept(moved)
    assert page.locator("#whatif-kept").text_content() == f"{kept:,}"
    for rule in PLANTED.values:
        assert tiles(page, rule)["Kept in all"] == f"{kept:,}"
    both = int((PLANTED.passes("rule 1", 9) & PLANTED.passes("rule 4", 14)).sum())
    assert others(page, "rule 1")["rule 4"][0] == others(page, "rule 4")["rule 1"][0] == both
    options = " ".join(f"--set '{panel(rule)['slider']['set'][index]}'" for rule, index in moved.items())
    assert page.locator("#whatif code").text_content() == options
    alone = PLANTED.kept({"rule 3": 0, "rule 4": 14, "rule 1": 0}) - kept
    assert number(tiles(page, "rule 1")["Dropped by it alone"]) == alone


def test_an_estimate_says_about(show):
    report = plant(rules=3).report
    report["sample"]["exact"] = False
    report["books"]["samples"] *= 10
    page = show(report)
    move(page, "rule 1", 2)
    assert "about" not in page.locator("#whatif").text_content()
    move(page, "rule 2", 2)
    kept = plant(rules=3).kept({"rule 1": 2, "rule 2": 2})
    assert page.locator("#whatif-kept").text_content() == f"about {10 * kept:,}"


def test_without_a_sample_several_cuts_are_not_known(show):
    report = plant(rules=2).report
    report["sample"] = None
    page = show(report)
    move(page, "rule 1", 2)
    move(page, "rule 2", 2)
    assert "not known" in page.locator("#whatif").text_content()
    assert tiles(page, "rule 1")["Kept in all"] == "not known"


def test_reset_puts_the_recipe_back(show):
    page = show(PLANTED.report)
    move(page, "rule 1", 0)
    move(page, "rule 2", 0)
    page.get_by_role("button", name="Reset all").click()
    assert number(tiles(page, "rule 1")["Kept in all"]) == PLANTED.kept()
    move(page, "rule 2", 0)
    page.locator("article", has_text="rule 2").get_by_role("button", name="Reset").nth(1).click()
    assert not page.locator("#whatif").is_visible()


def test_a_cut_is_dragged_on_the_chart(show):
    page = show(PLANTED.report)
    chart = page.locator("article:has(dl[data-rule='rule 1']) .draggable")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50, steps=4)
    page.mouse.up()
    edges = panel("rule 1")["histogram"]["edges"]
    middle = (edges[0] + edges[-1]) / 2
    values = panel("rule 1")["slider"]["value"]
    near = {i for i, value in enumerate(values) if abs(abs(value - middle) - _least(values, middle)) < 0.02}
    kept = {f"{PLANTED.kept({'rule 1': index}):,}" for index in near}
    assert page.locator("#whatif-kept").text_content() in kept


def _least(values, middle: float) -> float:
    return min(abs(value - middle) for value in values)


def test_the_options_are_copied(show):
    page = show(PLANTED.report)
    move(page, "rule 2", 3)
    page.locator("#whatif").get_by_role("button", name="Copy").click()
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == f"--set '{panel('rule 2')['slider']['set'][3]}'"


def test_a_rule_that_cannot_be_moved_is_shown(show):
    report = plant(rules=2).report
    report["rules"][1] |= {"slider": None, "kind": "chance"}
    report["rules"][1]["histogram"] |= {"edges": None, "labels": ["en", "de"], "all": [9, 4], "kept": [9, 0]}
    del report["sample"]["stop"]["rule 2"]
    page = show(report)
    assert page.locator("input[type=range]").count() == 1
    assert "each sample is drawn, by its uid and the seed" in page.locator("#rule-1").text_content()
    move(page, "rule 1", 2)
    slider = panel("rule 1")["slider"]
    assert others(page, "rule 2")["rule 1"][0] >= slider["passes"][2] - ROWS
