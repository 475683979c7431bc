"""Captions become the tokens that open_clip's own tokenizer gives."""

import open_clip
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from operators.algorithms.clip.tokens import Captions


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, tuple[Captions, open_clip.SimpleTokenizer]]:
    """By how they clean a caption: ours, and open_clip's."""
    kinds = {"lower": {}, "whitespace": {"clean": "whitespace"}, "short": {"context_length": 5}}
    made = {name: open_clip.SimpleTokenizer(**options) for name, options in kinds.items()}
    return {name: (Captions(open_clip.SimpleTokenizer(**kinds[name])), made[name]) for name in kinds}


@given(st.lists(st.text(max_size=60) | st.text("aB &;<>'\t\x1b\u00e9\u201c", max_size=40), max_size=4))
@example([])
@example(["", " ", "a  Photo of\tIT'S & &amp; &amp;amp; <end_of_text> x<start_of_text>"])
@example(
    ["12:30 don't WE'LL 1999", "\u00e2\u20ac\u0153quoted\u00e2\u20ac\u009d \ufb01ne \uff21", "dog " * 90]
)
@example(['#@!$%^*()_+-=[]{}|:",./?~`\\', "\x85a\x1cb\x00c\u2028d\u00a0e"])
def test_tokens_equal_open_clips(tokenizers, texts):
    for ours, theirs in tokenizers.values():
        tokens, cut = ours(texts)
        expected = theirs(texts)
        assert tokens.dtype == expected.dtype
        assert torch.equal(tokens, expected)
        assert cut == [len(theirs.encode(text)) + 2 > theirs.context_length for text in texts]


def test_words_are_forgotten_without_changing_tokens(monkeypatch):
    monkeypatch.setattr("operators.algorithms.clip.tokens.WORDS", 3)
    ours, theirs = Captions(open_clip.SimpleTokenizer()), open_clip.SimpleTokenizer()
    for text in ["red dogs", "blue cats and green birds", "yellow fish, red dogs"] * 2:
        assert torch.equal(ours([text])[0], theirs([text]))
        assert len(ours.remembered) <= 2 + 3 + 7  # the special ones, the bound, and one caption's words
