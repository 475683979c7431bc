"""Small dumps, page views and WordNets, and the command that reads them."""

import bz2
import gzip
import json
from pathlib import Path

from typer.testing import CliRunner

from jobs.commands.groups.metadata import app

LICENCE = (
    "  1 This software and database is being provided to you, the LICENSEE, by  \n"
    "  2 Princeton University under the following license.  By obtaining, using  \n"
)


WNDB = {
    "data.noun": (
        "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 | that which is\n"
        "00001930 03 n 01 physical_entity 0 007 @ 00001740 n 0000 | an entity that has physical existence  \n"
        "05629682 09 n 06 Hell 0 perdition 0 Inferno 1 infernal_region 0 pit 0 006 @ 05625879 n 0000 | x\n"
    ),
    "data.verb": "00001740 29 v 04 breathe 0 take_a_breath 0 respire 0 suspire 3 021 * 00005041 v 0000 | draw\n",
    "data.adj": (
        "00096913 00 s 01 d.o.a. 0 001 & 00095280 a 0000 | abbreviation for `dead on arrival'  \n"
        "00202677 00 s 01 regardant(ip) 0 002 & 00201354 a 0000 ;c 05801594 n 0000 | looking backward  \n"
        "03146311 01 a 04 .22_caliber 0 .22-caliber 0 .22_calibre 0 .22-calibre 0 004 \\ 05103283 n 0404 | x\n"
    ),
    "data.adv": "00191058 02 r 03 et_al. 1 et_al 1 et_alibi 0 000 | and elsewhere (used when referring)  \n",
}


NAMES = ["breathe", "d", "entity", "et al", "hell", "physical entity", "regardant"]


NUMERALS = [str(number) for number in range(100)]


EXPORT = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Diskussion</namespace>
      <namespace key="6" case="first-letter">Datei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""


PAGE = """\
  <page>
    <title>{title}</title>
    <ns>{ns}</ns>
    <id>7</id>{redirect}
    <revision>
      <id>11</id>
      <timestamp>2024-05-01T00:00:00Z</timestamp>
      <contributor><username>A text</username><id>3</id></contributor>
      <comment>a comment that is no text</comment>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="9" sha1="x" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


DOG = """\
{{Infobox dog|name=secret {{nested|x}}}}__NOTOC__
[[File:a.jpg|thumb|a [[hidden]] caption]][[Datei:b.jpg]]
A '''hot''' [[Dog|dog]]&lt;ref name="a"&gt;a book&lt;/ref&gt; &amp;amp; [[cat]]s[[Star Trek: Nine]]&lt;!-- no --&gt;.
{| class="wikitable"
! head !! other
|-
| cell || cell
|}
== Kinds ==
* one {{lang|x}} two &lt;math&gt;x^2&lt;/math&gt;[http://a.org a link]
[[Category:Dogs]][[Kategorie:Hunde]]
"""


def page(text: str, ns: int = 0, redirect: str = "") -> str:
    found = f'\n    <redirect title="{redirect}" />' if redirect else ""
    return PAGE.format(title="T", ns=ns, redirect=found, text=text)


def dump(path: Path, *pages: str) -> str:
    path.write_bytes(bz2.compress((EXPORT + "".join(pages) + "</mediawiki>\n").encode()))
    return str(path)


def wndb(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    for name, lines in WNDB.items():
        (folder / name).write_text(LICENCE + lines)
    return str(folder)


def hours(folder: Path, *files: str) -> str:
    folder.mkdir(exist_ok=True)
    for hour, lines in enumerate(files):
        path = folder / f"pageviews-20240501-{hour:02}0000.gz"
        path.write_bytes(gzip.compress(lines.encode()))
    return str(folder)


def build(*arguments: object):
    return CliRunner().invoke(app, ["build", *map(str, arguments)])


def entries(path: Path) -> list[str]:
    return json.loads(path.read_text(encoding="utf-8"))


# Titles
HOUR = (
    "aa Main_Page 60 0\nen Main_Page 60 0\nen File:A.jpg 900 0\nen Golden_Retriever 50 0\nen Rare 49 0\n"
    "en - 999 0\nen.m Main_Page 500 0\nen _A_b 70 0\nen Caf\u00e9 100 0\n"
)


# The command
def arguments(tmp_path: Path) -> list[object]:
    text = "The hot dog barks. A hot dog sleeps. entity!"
    sources = {
        "--wordnet": wndb(tmp_path / "wn"),
        "--wikipedia": dump(tmp_path / "d.xml.bz2", page(DOG), page(text), page("no", ns=1)),
        "--pageviews": hours(tmp_path / "views", HOUR, HOUR, "en Hell 70 0\n"),
    }
    return [part for pair in sources.items() for part in pair] + ["--unigram-count", 2, "--bigram-pmi", 2]


def characters(line: str) -> list[str]:
    """A tokeniser for the tests: every character."""
    return list(line)
