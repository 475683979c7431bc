"""The page as a file: one policy, no address, nothing of a pool as markup; every section may be missing."""

import base64
import hashlib
import json
import re
from dataclasses import make_dataclass
from html.parser import HTMLParser

import pytest

from pipeline.view.page.render import render
from tests.support.page_report import plant

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \u2028 \u202eabc"


class Tags(HTMLParser):
    """The tags of a page and their attributes, and the texts inside of style and script."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(page.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("style", "script"):
            self.inside.append((self.tags[-1][0], data))


def sha(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_the_policy_allows_this_style_and_these_scripts_alone():
    page = Tags(render(plant().report))
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    style = "".join(text for tag, text in page.inside if tag == "style").strip()
    script = [text for tag, text in page.inside if tag == "script" and text.startswith('"use strict"')]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["script-src"] == f"'sha256-{sha(script[0])}'"
    assert rules["style-src"] == f"'sha256-{sha(style + chr(10))}'"
    assert rules["img-src"] == "data:"


def test_the_page_names_no_other_file():
    for _, attributes in Tags(render(plant().report)).tags:
        assert not attributes.get("src")
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)


def test_equal_reports_give_equal_bytes():
    assert render(plant().report) == render(plant().report)


def test_the_data_hold_what_the_report_holds_and_no_markup():
    report = plant(captions=[HOSTILE]).report
    page = render(report).decode()
    (data,) = re.findall(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data) == report
    assert not set("<>&\u2028") & set(data)


def test_texts_in_the_template_are_escaped():
    planted = plant()
    planted.report["books"]["damaged"] = {HOSTILE: HOSTILE}
    planted.report["title"] = planted.report["recipe"] = HOSTILE
    page = render(planted.report)
    assert HOSTILE.encode() not in page
    assert b"&lt;/script&gt;&lt;script&gt;alert(1)" in page
    assert [tag for tag, _ in Tags(page).tags].count("script") == 2


def test_a_dataclass_is_rendered_as_its_mapping_is():
    report = plant().report
    fields = make_dataclass("Report", report)
    assert render(fields(**report)) == render(report)


def test_the_funnel_stands_in_the_page_without_a_script():
    page = render(plant().report).decode()
    funnel = page[page.index('<section id="funnel"') : page.index('<section id="rules"')]
    cells = [re.sub(r"<.*?>", "", cell) for cell in re.findall(r"<td.*?>.*?</td>", funnel)]
    assert "609" in cells  # URLs listed
    last = cells.index("586")
    assert cells[last - 2 : last + 1] == ["10", "4", "586"]  # dropped, failed, left
    assert "the tar breaks off (byte 12,800)" in funnel
    assert "404 not found" in funnel


@pytest.mark.parametrize(
    ("failed", "said"),
    [(4, "and 4 failed: a rule found no value to judge them by.</p>"), (0, "and none failed.</p>")],
)
def test_the_first_sentence_says_whether_any_failed(failed, said):
    report = plant().report
    report["books"] |= {"failed": failed}
    assert said in " ".join(render(report).decode().split())


@pytest.mark.parametrize("section", ["rules", "overlap", "corpus", "pictures", "placeholders", "record"])
def test_a_section_that_is_missing_is_left_out(section):
    report = plant().report
    del report[section]
    page = render(report).decode()
    assert f'<section id="{section}"' not in page
    assert f'href="#{section}"' not in page


@pytest.mark.parametrize(
    ("sample", "said", "unsaid"),
    [
        ({"exact": True, "rows": 600}, "are exact however many cuts you move", "drawn at random"),
        ({"exact": False, "rows": 200}, "those with “about” are estimated from 200 samples", "however many"),
        (None, "what they keep together is not known", "drawn at random"),
    ],
    ids=["the whole pool", "a sample", "none"],
)
def test_how_far_the_numbers_of_moved_cuts_are_exact(sample, said, unsaid):
    report = plant().report
    report["sample"] = sample and {**report["sample"], **sample}
    page = render(report).decode()
    rules = " ".join(page[page.index('<section id="rules"') : page.index('<div id="panels"')].split())
    assert said in rules
    assert unsaid not in rules
    assert (
        "To keep what you see, give the <code>--set</code> below the slider to <code>winnow keep</code>."
        in rules
    )
