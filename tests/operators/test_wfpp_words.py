"""The words of a caption: worked out by hand, and against a plain restatement of open_clip's tokenizer."""

import itertools
from unicodedata import category

import ftfy
import polars as pl
import pytest
import regex
from ftfy.badness import is_bad
from hypothesis import example, given, settings
from hypothesis import strategies as st
from open_clip.tokenizer import basic_clean, whitespace_clean

from operators.wfpp import CLEAN, QUOTES, words_of

PATTERN = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE)
EASY = (*map(chr, range(32, 38)), *map(chr, range(39, 127)), *"\t\n\f\r\xa0\u2013\u2014\u2019…あンー漢한🐶")
SIGNS = "\u2018“”•©®™"
LETTERS = (*map(chr, range(0xDF, 0xF7)), *map(chr, range(0xF8, 0x100)), *map(chr, range(0x410, 0x450)), *"Ёё")


def restated(text: str) -> list[str]:
    return PATTERN.findall(whitespace_clean(basic_clean(text)).lower())


def split(texts) -> list[list[str] | None]:
    return (
        pl.DataFrame({"text": texts}, schema={"text": pl.String})
        .select(words_of(pl.col("text")))["text"]
        .to_list()
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A dog's ball.", ["a", "dog", "'s", "ball", "."]),
        ("I'm sure they'll've, can't", ["i", "'m", "sure", "they", "'ll", "'ve", ",", "can", "'t"]),
        ("we'd we're", ["we", "'d", "we", "'re"]),
        ("A DOG\u2019S ball", ["a", "dog", "'s", "ball"]),  # curly quotes are straightened
        ("\u201ca\u201d \u2018b\u2019", ['"', "a", '"', "'", "b", "'"]),
        ("in 1984", ["in", "1", "9", "8", "4"]),  # one digit at a time
        ("wow!!! ;-) $5", ["wow", "!!!", ";-)", "$", "5"]),  # punctuation counts as a word
        ("!'s", ["!'", "s"]),  # the run began before the apostrophe
        ("rock&roll &amp; R&amp;amp;B", ["rock", "&", "roll", "&", "r", "&", "b"]),
        ("caf\u00c3\u00a9", ["café"]),  # mojibake
        ("CAFÉ", ["café"]),
        ("cafe\u0301", ["café"]),  # composed
        ("\uff21\uff22\uff0c", ["ab", ","]),  # full width
        ("'\u017f", ["'\u017f"]),  # the long s, under (?i)
        ("\u0130", ["i", "\u0307"]),  # a combining mark is no letter
        ("ΟΔΟΣ", ["οδος"]),  # final sigma
        ("СОБАКА", ["собака"]),
        ("沙滩上的狗。", ["沙滩上的狗", "。"]),  # one run of letters
        ("ก็ดี", ["ก", "็", "ด", "ี"]),
        ("🐶🏖 a", ["🐶🏖", "a"]),
        ("½ ²", ["½", "²"]),
        ("a\x00b\x1b[31mc\x7f", ["abc"]),
        ("a\u00a0b\u3000c\u2028d\u0085e", ["a", "b", "c", "d", "…", "e"]),  # U+0085 is Windows' ellipsis
        ("", []),
        (" \n\t", []),
        ("\x00", []),
    ],
)
def test_words(text, words):
    assert split([text]) == [words] == [restated(text)]


def test_null_stays_null():
    assert split([None, "a", None]) == [None, ["a"], None]
    assert split([]) == []


ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])
TRICKY = st.sampled_from(
    [
        "'s",
        "'S",
        "'\u017f",
        "'LL",
        "'re",
        "don't",
        "\u2019s",
        "&amp;",
        "&amp;lt;",
        "&#39;",
        "&#x1c;",
        "&",
        "&eacute",
        "<b>",
        "\x1b[31m",
        "Ã©",
        "â€™",
        "Â ",
        "à",
        "É",
        "€",
        "ﬁ",
        "\u212a",
        "\u0130",
        "Σ",
        "ς",
        "\r\n",
        "\x85",
        "\x1c",
        "\ufeff",
        "\u200b",
        "\u0301",
        "ü",
        "й",
        "и\u0306",
        "한",
        "\u11a8",
        "か\u3099",
    ]
)
ANYTHING = st.lists(st.one_of(st.text(ASSIGNED, max_size=8), TRICKY), max_size=8).map("".join)
PLAIN = st.one_of(
    st.text(st.sampled_from([*EASY, *SIGNS])),
    st.text(st.sampled_from([*EASY, *LETTERS])),
    st.text(st.sampled_from([*EASY, *SIGNS, *LETTERS, *"&ÀÉÃÂ£¬"])),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(ANYTHING, PLAIN), min_size=1, max_size=20))
@example(["Ã\xa0", "à ²", "\u0412”\u0412", "é”a", "a\u2019", "\x0b", "'s'S'\u017f"])
def test_words_are_those_of_open_clip(texts):
    """But for characters newer than Python's Unicode, which mojibake can spell."""
    texts = [text for text in texts if all(category(c) != "Cn" for c in basic_clean(text))]
    assert split(texts) == [restated(text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(st.one_of(PLAIN, st.text(st.characters(max_codepoint=127))))
def test_captions_that_skip_cleaning_need_none(text):
    """Wherever CLEAN matches, straight quotes are all that ftfy changes, and html nothing."""
    if pl.Series([text]).str.contains(CLEAN).item():
        straight = text.translate(str.maketrans(QUOTES))
        assert ftfy.fix_text(text).split() == straight.split()
        assert "&" not in text


@pytest.mark.parametrize("alphabet", [[*EASY, *SIGNS], [*EASY, *LETTERS]], ids=["signs", "letters"])
def test_no_pair_that_skips_cleaning_is_mojibake(alphabet):
    for around in ("a", " ", "A", "\u2019"):
        text = around.join(map("".join, itertools.product(alphabet, alphabet)))
        assert pl.Series([text]).str.contains(CLEAN).item()
        assert not is_bad(text)


@pytest.mark.parametrize(
    "character", ["&", "\x0b", "\x1b", "\x7f", "É", "\u0301", "ﬁ", "\uff21", "\u3000", "£"]
)
def test_captions_that_may_need_cleaning_get_it(character):
    assert not pl.Series([f"a dog {character}"]).str.contains(CLEAN).item()
