"""A CLIP's text tower with as much context as a caption needs.

    contexts = TextContexts(net)
    for length, rows in contexts.groups(tokens):        # tokens: (n, 77)
        contexts.encode(tokens[rows, :length])          # padded to ROWS rows

In a causal text tower a token sees only what is before it, and the embedding is read at the caption's end
token. So padding behind it costs time and changes nothing: a caption of 20 tokens needs a context of 24, not
of 77. Contexts are multiples of STEP. A caption's context depends on that caption alone, so a result never
depends on neighbours or on the size of a batch. The last block is computed for the end token alone
(pooled_token.py).

Towers that read all positions keep their whole context: those without a causal mask, such as SigLIP's, and
those that pool the last or every position, such as CoCa's and CLIPA's.

Source: open_clip's `CLIP.encode_text` and `TextTransformer.forward`, whose modules run unchanged.
"""

from typing import Any

from operators.algorithms.clip.pooled_token import for_tokens, is_usual

# Tokens, and captions per forward pass, which are padded to as many: the quickest for batches of 64 captions
# of the 1,500 photos (RESULTS.md). Longer steps compute more padding, shorter ones make smaller groups.
STEP, ROWS = 8, 4


class TextContexts:
    """The text tower of an open_clip model at several lengths of context."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._tower = _causal_tower(net)
        whole = int(net.context_length)
        self._lengths = [whole] if self._tower is None else [*range(STEP, whole, STEP), whole]

    def groups(self, tokens: Any) -> list[tuple[int, list[int]]]:
        """(length, at most ROWS rows) of captions that need the same length, longest first, so that threads
        end together. `tokens`: (n, context)."""
        by_length: dict[int, list[int]] = {}
        for row, needed in enumerate(self._needed(tokens)):
            length = next(length for length in self._lengths if length >= needed)
            by_length.setdefault(length, []).append(row)
        return [
            (length, by_length[length][start : start + ROWS])
            for length in sorted(by_length, reverse=True)
            for start in range(0, len(by_length[length]), ROWS)
        ]

    def encode(self, tokens: Any) -> Any:
        """(n, d) embeddings of (n, length) tokens."""
        import torch

        tower = self._tower
        if tower is None:
            return self._net.encode_text(tokens)
        length = tokens.shape[1]
        rows, ends = torch.arange(len(tokens)), self._ends(tokens)
        dtype = tower.transformer.get_cast_dtype()
        mask = tower.attn_mask[:length, :length].to(dtype)
        *blocks, last = tower.transformer.resblocks
        x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
        for block in blocks:
            x = block(x, attn_mask=mask)
        sees = mask[ends].repeat_interleave(last.attn.num_heads, dim=0).unsqueeze(1)
        pooled = tower.ln_final(for_tokens(last, x, (rows, ends), sees)[:, 0])
        to_embedding = tower.text_projection
        if to_embedding is None:
            return pooled
        return to_embedding(pooled) if isinstance(to_embedding, torch.nn.Linear) else pooled @ to_embedding

    def _needed(self, tokens: Any) -> list[int]:
        """How many tokens of each row count."""
        if self._tower is None:
            return self._lengths * len(tokens)
        return [place + 1 for place in self._ends(tokens).tolist()]

    def _ends(self, tokens: Any) -> Any:
        """(n,) the place of each row's end token: the one that `text_global_pool` of open_clip reads."""
        kind, end = _pool(self._tower)
        marks = tokens if kind == "argmax" else (tokens == end).int()
        return marks.argmax(dim=-1)


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
    if not is_usual(tower.transformer):
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
