"""Captions as the tokens of an open_clip model, and which captions its context cuts.

    captions = Captions(open_clip.get_tokenizer("ViT-B-32"))
    tokens, cut = captions(["a dog", "a dog " * 100])   # cut: [False, True]

Tokens always are those of the tokenizer's own call. Whether it has cut a caption does not show in them: the
padding token may be the end token (SigLIP's first generation), and the end token may be taken out again
(CLIPA). So the tokens of the whole caption are counted: a Hugging Face tokenizer encodes it once more.

open_clip's own tokenizer is written in Python and holds Python's lock, so that on a GPU's worker it bounds
the pass. Its steps are taken here, with the tokens of common words remembered, and without mending the
encoding of captions that are plain ASCII: in a fifth of its time.
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

WORDS = 20_000  # words that open_clip's own tokenizer may remember: about 4 MB; and as many here
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
    """Of open_clip's SimpleTokenizer."""
    from open_clip.tokenizer import random_mask_tokenize, simple_mask_tokenize

    reduce = tokenizer.reduction_fn
    if getattr(reduce, "func", reduce) in (random_mask_tokenize, simple_mask_tokenize):
        raise ValueError(
            "the model's tokenizer_kwargs.reduction_mask drops tokens of long captions at random, which is "
            "for training; take it out of the model's config"
        )
    if reduce is not None:  # it takes words out before it encodes
        encode = tokenizer.encode
        return lambda texts: (tokenizer(texts), [len(encode(text)) + ENDS for text in texts])
    return _quick(tokenizer)


def _quick(tokenizer: Any) -> Counter:
    """What SimpleTokenizer's `__call__` and `encode` do, quicker."""
    import torch

    context = tokenizer.context_length
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    clean, words = _cleaned(tokenizer.clean_fn), tokenizer.pat.findall

    @lru_cache(WORDS)
    def ids(word: str) -> tuple[int, ...]:
        spelled = "".join(tokenizer.byte_encoder[byte] for byte in word.encode("utf-8"))
        return tuple(tokenizer.encoder[token] for token in tokenizer.bpe(spelled).split(" "))

    def tokenize(texts: list[str]) -> tuple[Any, list[int]]:
        rows, lengths = np.zeros((len(texts), context), np.int64), list[int]()
        for row, text in zip(rows, texts, strict=True):
            tokens = [start]
            for word in words(clean(text)):
                tokens += ids(word)
            tokens.append(end)
            lengths.append(len(tokens))
            if len(tokens) > context:
                tokens[context - 1 :] = [end]
            row[: len(tokens)] = tokens
        return torch.from_numpy(rows), lengths

    return tokenize


def _cleaned(clean: Callable[[str], str]) -> Callable[[str], str]:
    """The same function, without ftfy and HTML where they change nothing: printable ASCII that has no `&`."""
    from open_clip.tokenizer import get_clean_fn

    if clean is not get_clean_fn("lower"):
        return clean

    def lower(text: str) -> str:
        plain = text.isascii() and text.isprintable() and "&" not in text
        return " ".join(text.split()).lower() if plain else clean(text)

    return lower


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
