"""The page for people: hostile texts, narrow windows, the keyboard, dialogs, and what axe finds."""

import pytest

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")

from playwright.sync_api import expect

from tests.support.browser import inaccessible, overflow
from tests.support.page_report import plant

HOSTILE = [
    "</script><script>alert('script')</script>",
    '<img src=x onerror="alert(1)">',
    '"><svg onload=alert(2)> <a href="javascript:alert(3)">x</a>',
    "{{ 7 * 7 }} ${7 * 7} &lt;b&gt;",
    "شجرة خضراء \u202ebeside\u202c \u2067a red car\u2069",
    "👩‍👩‍👧‍👦🏳️‍🌈 " * 30,
    "z" + "\u0301\u0300\u0327\u0337" * 400,
    "x" * 10_000,
    "many words " * 1_000,
    "line\u2028two\u2029three\x00\x1b[31m",
    "",
]


def every_picture(page) -> None:
    """Scroll through the page, so that every part of it was in the window once."""
    page.evaluate(
        """async () => {
          for (let top = 0; top < document.documentElement.scrollHeight; top += 800) {
            scrollTo(0, top);
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
          }
        }"""
    )


def open_card(page, number: int = 0) -> None:
    page.locator("#groups .open").nth(number).click()
    assert page.locator("dialog").is_visible()


@pytest.mark.parametrize("width", [400, 1200])
def test_hostile_captions_are_text(show, width):
    page = show(plant(captions=HOSTILE).report, width=width)
    every_picture(page)
    assert page.locator("script").count() == 2
    assert (
        page.locator(
            "main :is(svg svg, a[href^=javascript], img:not([src^=data\\:]):not(:not([src])))"
        ).count()
        == 0
    )
    assert overflow(page) == []
    for number, caption in enumerate(HOSTILE):
        open_card(page, number)
        told = page.locator("dialog blockquote")
        if number % 7 == 6:  # the fixture's samples without a caption
            assert told.count() == 0
        else:
            assert told.first.text_content() == (caption or "an empty caption")
        assert overflow(page) == []
        box = page.locator("dialog").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.keyboard.press("Escape")


def test_a_long_caption_is_cut_on_its_card_and_whole_in_the_dialog(show):
    page = show(plant(captions=["many words " * 1_000]).report)
    card = page.locator("#groups .card").first
    assert len(card.locator(".caption").text_content()) < 300
    assert card.bounding_box()["height"] < 400
    open_card(page)
    assert len(page.locator("dialog blockquote").text_content()) == 11_000


def test_a_sample_in_full(show):
    page = show(plant().report)
    open_card(page, 3)
    dialog = page.locator("dialog")
    assert dialog.locator("blockquote").all_text_contents() == ["a dog on a beach", "another caption"]
    assert dialog.locator(".overlay polygon").get_attribute("points") == "4,4 40,6 40,20 4,18"
    assert dialog.locator(".overlay title").text_content() == "SALE"
    assert dialog.locator(".frame img").count() == 2  # the picture and the masked one
    assert dialog.locator(".frame img").first.evaluate("image => image.naturalWidth") == 96
    assert "000000003" in dialog.text_content()
    assert dialog.locator("table").nth(1).locator("td, th").all_text_contents()[2:] == ["00000 3", "0.25"]
    assert dialog.locator(".card").count() == 1  # the neighbour that is in the page


@pytest.mark.parametrize(
    ("by", "missed"), [("file size, width and height", "was encoded anew"), ("URL", "from another URL")]
)
def test_that_no_picture_was_found_is_said_with_how_they_are_told(show, by, missed):
    report = plant().report
    report["placeholders"] |= {"pictures": [], "told_by": by}
    said = show(report).locator("#repeats p").all_text_contents()
    assert f"of equal {by}" in said[0]
    assert missed in said[0]
    assert said[1] == "None was found."


def test_from_sample_to_sample(show):
    page = show(plant().report)
    open_card(page)
    page.keyboard.press("ArrowRight")
    assert page.locator("#sample-title").text_content() == "Sample 2 of 8"
    page.get_by_role("button", name="Previous sample").click()
    assert page.locator("#sample-title").text_content() == "Sample 1 of 8"
    page.locator("dialog .card button").click()
    assert "000000001" in page.locator("dialog").text_content()
    page.get_by_role("button", name="Close").click()
    assert not page.locator("dialog").is_visible()


def test_the_keyboard_reaches_everything(show):
    page = show(plant(rules=2).report)
    slider = page.locator("input[type=range]").first
    reached = []
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.className + document.activeElement.type"))
    assert reached.count("range") >= 2
    assert "openbutton" in reached
    slider.focus()
    before = slider.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") not in (before, None)
    assert page.locator("#whatif").is_visible()
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == before
    card = page.locator(".open").first
    card.focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    assert card.evaluate("card => card === document.activeElement")


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(show, dark):
    page = show(plant(rules=2, captions=HOSTILE[:5]).report, dark=dark)
    every_picture(page)
    page.locator("input[type=range]").first.press("ArrowRight")
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert inaccessible(page) == []
    open_card(page, 3)
    assert inaccessible(page) == []


@pytest.mark.parametrize("rules", [0, 1, 20])
@pytest.mark.parametrize("pictures", [False, True])
def test_few_rules_many_rules_and_no_pictures(show, rules, pictures):
    page = show(plant(rules, pictures=pictures).report, width=400)
    assert page.locator("article.panel").count() == rules
    assert page.locator("#pictures").count() == pictures
    assert overflow(page) == []


def test_a_command_is_not_broken_inside_of_a_word(show):
    report = plant(rules=2).report
    for panel in report["rules"]:
        panel["slider"]["set"] = [f"keep.an_operator.with_a_long_name.top={n:.3f}" for n in range(25)]
    page = show(report, width=400)
    page.locator("input[type=range]").first.press("ArrowRight")
    code = page.locator("article.panel code").first
    assert code.text_content() == "--set keep.an_operator.with_a_long_name.top=6.000"
    rows = code.locator("span").evaluate_all("spans => spans.map((span) => span.getClientRects().length)")
    assert rows == [1] * 5
    assert code.bounding_box()["height"] > 30  # it has more than one row


def test_evidence_is_worded_and_a_sign_is_no_missing_value(show):
    report = plant().report
    report["pictures"]["cards"]["3"]["evidence"] = {"parrot": [{"in_caption_and_image": "-", "times": None}]}
    page = show(report)
    open_card(page, 3)
    cells = page.locator("dialog table").nth(1).locator("td, th").all_text_contents()
    assert cells == ["in caption and image", "times", '"-"', "no value"]


def test_a_kind_of_pictures_is_chosen_by_its_tab(show):
    page = show(plant(rules=3).report)
    first, last = page.locator("#rule-0"), page.locator("#rule-2")
    assert first.locator("h4").all_text_contents() == ["Just dropped", "Just kept"]
    assert last.locator("h4").all_text_contents() == [
        "Just kept",
        "Just dropped",
    ]  # `max`: kept is on the left
    first.get_by_role("button", name="This rule alone").click()
    assert first.locator("h4").all_text_contents() == ["Only"]
    assert first.locator(".card .value").nth(1).text_content() == "0.125"


@pytest.mark.parametrize(("kept", "said"), [(289, "72.2%"), (291, "72.8%"), (3, "0.8%"), (133, "33.2%")])
def test_a_share_is_rounded_as_the_terminal_rounds_it(show, kept, said):
    """Of 400 these are 72.25, 72.75, 0.75 and 33.25 %: ties, which Python rounds to the even digit."""
    report = plant().report
    report["books"] |= {"kept": kept, "samples": 400}
    page = show(report)
    assert page.locator(".tiles .number").nth(3).text_content() == said == f"{kept / 400:.1%}"
    assert f"({said})" in page.locator(".lead").text_content()


def test_the_overlap_as_a_plot_and_as_a_table(show):
    planted = plant(rules=3)
    page = show(planted.report)
    sets = [one for one in planted.report["overlap"] if one["fails"]]
    assert page.locator(".upset g").count() == len(sets)
    tip = page.locator(".upset g title").first.text_content()
    assert tip == f"{sets[0]['count']} fail {' and '.join(sets[0]['fails'])}"
    page.locator("#overlap summary").click()
    page.locator("#overlap tbody tr").first.wait_for()  # the rows are made as the table opens
    assert page.locator("#overlap tbody tr").count() == len(planted.report["overlap"])


def test_pictures_get_their_bytes_when_they_come_into_view(show):
    page = show(plant(rules=20).report)
    with_bytes = "document.querySelectorAll('img[src]').length"
    assert page.evaluate(with_bytes) < page.locator("img").count() / 4
    every_picture(page)
    expect(page.locator("#groups img:not([src])")).to_have_count(0)


def test_paper_has_all_pictures(show):
    page = show(plant().report)
    page.emulate_media(media="print")
    assert len(page.pdf()) > 10_000
    assert page.locator("img:not([src])").count() == 0
    assert page.locator("details:not([open])").count() == 0
