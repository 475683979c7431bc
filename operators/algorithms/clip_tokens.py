"""Captions as the tokens of an open_clip model, and which captions its context cuts.

    captions = Captions(open_clip.get_tokenizer("ViT-B-32"))
    tokens, cut = captions(["a dog", "a dog " * 100])   # cut: [False, True]

Tokens always are those of the tokenizer's own call. Whether it has cut a caption does not show in them: the
padding token may be the end token (SigLIP's first generation), and the end token may be taken out again
(CLIPA). So the tokens of the whole caption are counted. open_clip's own tokenizer is written in Python,
encodes the whole caption on its way, and is asked there; a Hugging Face tokenizer encodes it once more.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

WORDS = 20_000  # words that open_clip's own tokenizer may remember: about 4 MB
ENDS = 2  # tokens that it puts around a caption: start and end
CLIPS, CLIPS_ENDS = "clips", 3  # a mode of its wrapper around Hugging Face's that adds start, end and class


class Captions:
    """A tokenizer of open_clip's with a memory of bounded size. Raises ValueError for one that drops tokens
    at random: scores would not be the same twice."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.remembered: dict[str, str] = getattr(tokenizer, "cache", {})
        self.special = dict(self.remembered)
        self._turn = threading.Lock()
        self._context = tokenizer.context_length
        self._count = _counter(tokenizer)

    def __call__(self, texts: Sequence[str]) -> tuple[Any, list[bool]]:
        """Tokens, (n, context), of n captions, and whether each has more tokens than fit. Threads take
        turns: the tokenizers are not made for several."""
        clean = without_surrogates(texts)
        with self._turn:
            self._forget_words()
            tokens, lengths = self._count(clean)
        return tokens, [length > self._context for length in lengths]

    def _forget_words(self) -> None:
        """Empty the memory of open_clip's own tokenizer, which keeps every word it meets: web captions never
        run out of new ones."""
        if len(self.remembered) > WORDS:
            self.remembered.clear()
            self.remembered.update(self.special)


Counter = Callable[[list[str]], tuple[Any, list[int]]]  # captions -> tokens, and how many they were uncut


def _counter(tokenizer: Any) -> Counter:
    """The way to count a tokenizer's tokens, by its class."""
    if hasattr(tokenizer, "encode"):
        return _own(tokenizer)
    if hasattr(tokenizer, "tokenizer"):
        return _hugging_face(tokenizer)
    raise ValueError(f"open_clip's tokenizer {type(tokenizer).__name__} is not one that Winnow knows")


def _own(tokenizer: Any) -> Counter:
    """Of open_clip's SimpleTokenizer, which calls `encode` once per caption."""
    from open_clip.tokenizer import random_mask_tokenize, simple_mask_tokenize

    reduce = tokenizer.reduction_fn
    if getattr(reduce, "func", reduce) in (random_mask_tokenize, simple_mask_tokenize):
        raise ValueError(
            "the model's tokenizer_kwargs.reduction_mask drops tokens of long captions at random, which is "
            "for training; take it out of the model's config"
        )
    encode = tokenizer.encode
    if reduce is not None:  # it takes words out before it encodes
        return lambda texts: (tokenizer(texts), [len(encode(text)) + ENDS for text in texts])
    lengths = list[int]()

    def encode_and_count(text: str) -> list[int]:
        tokens: list[int] = encode(text)
        lengths.append(len(tokens) + ENDS)
        return tokens

    def tokenize(texts: list[str]) -> tuple[Any, list[int]]:
        lengths.clear()
        return tokenizer(texts), list(lengths)

    tokenizer.encode = encode_and_count
    return tokenize


def _hugging_face(tokenizer: Any) -> Counter:
    """Of open_clip's HFTokenizer and SigLipTokenizer."""
    from open_clip.tokenizer import get_clean_fn

    clean = getattr(tokenizer, "clean_fn", None) or get_clean_fn("canonicalize")  # SigLipTokenizer's
    in_clips = getattr(tokenizer, "tokenizer_mode", "") == CLIPS

    def tokenize(texts: list[str]) -> tuple[Any, list[int]]:
        whole = tokenizer.tokenizer(
            [clean(text) for text in texts],
            add_special_tokens=not in_clips,
            padding=False,
            truncation=False,
            verbose=False,  # it would warn of captions that are longer than the model's context
        )
        added = CLIPS_ENDS if in_clips else 0
        return tokenizer(texts), [len(ids) + added for ids in whole["input_ids"]]

    return tokenize


def without_surrogates(texts: Sequence[str]) -> list[str]:
    """Captions without the lone surrogates that JSON can smuggle in and tokenizers refuse."""
    return [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
