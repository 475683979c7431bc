"""A CLIP's text tower with as much context as a caption needs.

    contexts = TextContexts(net)
    for length, rows in contexts.groups(tokens):        # tokens: (n, 77)
        contexts.encoders[length](tokens[rows, :length])  # padded to ROWS rows

In a causal text tower a token sees only what is before it, and the embedding is read at the caption's end
token. So padding behind it costs time and changes nothing: a caption of 20 tokens needs a context of 32, not
of 77. Contexts are multiples of STEP. A caption's context depends on that caption alone, so a result never
depends on neighbours or on the size of a batch.

Towers that read all positions keep their whole context: those without a causal mask, such as SigLIP's, and
those that pool the last or every position, such as CoCa's and CLIPA's.

Source: open_clip's `CLIP.encode_text` and `TextTransformer.forward`, which run unchanged on views of the
    weights.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

# Tokens: a vector of AVX-512 holds so many float32. Sums then keep their order, so on CPU the embeddings
# equal those of the whole context to the bit; with 8 some differ by 3e-6.
STEP = 16
# Captions per forward pass, padded to as many. 8 compute a sixth more tokens in batches of 64; MKL sums 1 or
# 2 rows in another order.
ROWS = 4


class TextContexts:
    """The text tower of an open_clip model at several lengths of context.

    encoders  by length: (n, length) tokens -> (n, d); one that has all of the context if it is needed
    """

    def __init__(self, net: Any) -> None:
        tower = _causal_tower(net)
        self._tower = tower
        whole = int(net.context_length)
        lengths = range(STEP, whole, STEP) if tower is not None else ()
        self.encoders: Mapping[int, Callable[[Any], Any]] = {
            **{length: _encoder(_shortened(tower, length)) for length in lengths},
            whole: net.encode_text,
        }

    def groups(self, tokens: Any) -> list[tuple[int, list[int]]]:
        """(length, at most ROWS rows) of captions that need the same length, longest first, so that threads
        end together. `tokens`: (n, context)."""
        by_length: dict[int, list[int]] = {}
        for row, needed in enumerate(self._needed(tokens)):
            length = next(length for length in self.encoders if length >= needed)
            by_length.setdefault(length, []).append(row)
        return [
            (length, by_length[length][start : start + ROWS])
            for length in sorted(by_length, reverse=True)
            for start in range(0, len(by_length[length]), ROWS)
        ]

    def _needed(self, tokens: Any) -> list[int]:
        """How many tokens of each row count: up to the one that `text_global_pool` of open_clip reads."""
        if self._tower is None:
            return [max(self.encoders)] * len(tokens)
        kind, end = _pool(self._tower)
        marks = tokens if kind == "argmax" else (tokens == end).int()
        return [place + 1 for place in marks.argmax(dim=-1).tolist()]


def _causal_tower(net: Any) -> Any:
    """What holds the text tower's positions and mask, if no token sees a later one and the embedding is read
    at the end token; else None."""
    import open_clip
    import torch
    from open_clip.transformer import TextTransformer

    tower: Any = net if type(net) is open_clip.CLIP else getattr(net, "text", None)
    if not (tower is net or (type(net) is open_clip.CustomTextCLIP and type(tower) is TextTransformer)):
        return None
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "output_tokens", False) is True:
        return None
    size = net.context_length
    causal = torch.full((size, size), -torch.inf).triu(1)
    mask = tower.attn_mask
    masked = mask is not None and mask.shape == causal.shape and torch.equal(mask.float().cpu(), causal)
    return tower if masked and _pool(tower)[0] in ("argmax", "eos") else None


def _pool(tower: Any) -> tuple[str, int | None]:
    """Which position is pooled, and the id of the end token, as open_clip's two classes call them."""
    names = ("pool_type", "eos_id") if hasattr(tower, "pool_type") else ("text_pool_type", "text_eos_id")
    kind, end = (getattr(tower, name, None) for name in names)
    return str(kind), end


def _shortened(tower: Any, length: int) -> Any:
    """The tower with a context of `length` tokens. It shares the weights."""
    import torch

    short = copy.copy(tower)
    positions = torch.nn.Parameter(tower.positional_embedding[:length], requires_grad=False)
    short._parameters = {**tower._parameters, "positional_embedding": positions}
    short._buffers = {**tower._buffers, "attn_mask": tower.attn_mask[:length, :length]}
    return short


def _encoder(tower: Any) -> Callable[[Any], Any]:
    """Tokens -> embeddings."""
    encode: Callable[[Any], Any] = getattr(tower, "encode_text", tower)
    return encode
