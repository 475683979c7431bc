"""The last block of a CLIP's transformer, for the one token that is pooled.

    only_class_token(net.visual)            # True if the tower pools its class token: it is now quicker
    for_tokens(block, x, (rows, places))    # (n, 1, d): the block's output at one place of each row

A tower's embedding is read at one token. In the last block the other tokens count as keys and values only,
so their queries, their outputs and their share of the MLP, five sixths of the block, need not be computed.

Source: open_clip's `ResidualAttentionBlock.forward`, whose modules run unchanged. The sums of fewer rows may
    have another order, so embeddings differ by about 1e-7 of their length.
"""

from typing import Any


def is_usual(transformer: Any) -> bool:
    """Whether the last block of an open_clip transformer is one that `for_tokens` knows."""
    from open_clip.transformer import ResidualAttentionBlock, Transformer

    if type(transformer) is not Transformer or not transformer.batch_first:
        return False
    return type(transformer.resblocks[-1]) is ResidualAttentionBlock


def for_tokens(block: Any, x: Any, at: tuple[Any, Any], mask: Any = None) -> Any:
    """(n, 1, d): what a ResidualAttentionBlock makes of one token of each row of `x`, (n, length, d).

    at    the row and the place of each token, as one indexes with them
    mask  (n * heads, 1, length), added to the attention's scores: what the token does not see is -inf
    """
    normal = block.ln_1(x)
    asks = normal[at].unsqueeze(1)
    seen = block.attn(asks, normal, normal, need_weights=False, attn_mask=mask)[0]
    token = x[at].unsqueeze(1) + block.ls_1(seen)
    return token + block.ls_2(block.mlp(block.ln_2(token)))


def only_class_token(visual: Any) -> bool:
    """Let an image tower of open_clip compute the class token alone in its last block, if it pools that one.
    Returns whether it does."""
    from open_clip.transformer import VisionTransformer

    if type(visual) is not VisionTransformer or visual.attn_pool is not None or visual.output_tokens:
        return False
    if visual.pool_type != "tok" or not is_usual(visual.transformer):
        return False
    last = visual.transformer.resblocks[-1]

    def forward(x: Any, attn_mask: Any = None) -> Any:
        """(n, length, d) -> (n, 1, d): the class token comes first."""
        assert attn_mask is None
        return for_tokens(last, x, (slice(None), 0))

    last.forward = forward  # the block itself stays where it is: checkpoints name its weights
    return True
