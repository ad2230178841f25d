"""Variants of x-transformers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from .entry import Entry, tokens
from .hugging_face import HEAD
from .packages import imported
from .truth import BOTTLENECK, EMBEDDING, KEY_VALUE, READOUT, Kind, Truth

WIDTH_ONLY: dict[str, Any] = {"depths": None}
ENDS = ("*.to_out.*", "*.ff.2.*")
HALF = {"pos_emb.emb.weight": EMBEDDING.times(0.5)}
"""Positions are multiplied by 1/sqrt(width), which has to be undone."""


def truth(*ends: str, positions: bool = True, **kinds: Kind) -> Truth:
    """Return the truth of a decoder."""
    words = {"token_emb.emb.weight": EMBEDDING, "to_logits.weight": READOUT}
    return Truth(kinds={**kinds, **words, **(HALF if positions else {})}, ends=ends or ENDS)


def decoder(
    name: str,
    right: Truth | Iterable[Truth] | None = None,
    special: str = "",
    fields: dict[str, Any] | None = None,
    **flags: Any,
) -> Entry:
    """Return the entry of a decoder with these flags."""

    def build(n: int, d: int) -> nn.Module:
        home = imported("x_transformers")
        layers = home.Decoder(dim=n, depth=d, heads=n // HEAD, attn_dim_head=HEAD, **flags)
        model: nn.Module = home.TransformerWrapper(
            num_tokens=64, max_seq_len=16, attn_layers=layers
        )
        return model

    right = right or truth()
    return Entry(
        name=name,
        package="x_transformers",
        build=build,
        inputs=lambda: tokens(2, 8),
        truths=(right,) if isinstance(right, Truth) else tuple(right),
        special=special,
        **(fields or {}),
    )


ENTRIES = (
    decoder("Decoder", special="positions times 1/sqrt(width)"),
    decoder("Rotary", truth(positions=False), "rotary positions", rotary_pos_emb=True),
    decoder(
        "QK-norm, GLU, RMSNorm",
        special="cosine attention",
        attn_qk_norm=True,
        ff_glu=True,
        use_rmsnorm=True,
    ),
    decoder("Gated values", special="a sigmoid gate on attention's output", attn_gate_values=True),
    decoder("Memory", special="learned keys and values", attn_num_mem_kv=4),
    decoder(
        "Gated residual",
        special="a GRU instead of the residual add",
        fields={"refused": {"depth": "plain chain"}},
        gate_residual=True,
    ),
    decoder("ScaleNorm", special="one gain for all features", use_scalenorm=True),
    decoder(
        "Relative positions",
        truth(positions=False, **{"*.rel_pos.*.weight": EMBEDDING}),
        "T5's bias of attention",
        rel_pos_bias=True,
    ),
    decoder(
        "Dynamic positions",
        special="a bias of attention from a network of the width",
        dynamic_pos_bias=True,
        dynamic_pos_bias_log_distance=False,
    ),
    decoder("ALiBi", special="ALiBi beside positions", alibi_pos_bias=True),
    decoder(
        "Sandwich norm", truth("*.layers.?.0.1.gamma"), "norms end branches", sandwich_norm=True
    ),
    decoder(
        "One key head",
        truth(**{"*.to_k.weight": KEY_VALUE, "*.to_v.weight": KEY_VALUE}),
        "multi-query attention",
        attn_one_kv_head=True,
    ),
    decoder(
        "Hyper-connections",
        truth(
            **{
                "*.dynamic_alpha_fn": BOTTLENECK,
                "*.dynamic_beta_fn": BOTTLENECK,
                "*stream_emb": EMBEDDING,
            }
        ),
        "two streams; their mixing depends on the features",
        WIDTH_ONLY,
        num_residual_streams=2,
    ),
    decoder("Macaron", special="half an MLP before and after attention", macaron=True),
    decoder(
        "Post-norm",
        special="a norm after each residual add",
        fields={"refused": {"depth": "post-norm"}},
        pre_norm=False,
    ),
    decoder("Shifted tokens", special="half the features from the last token", shift_tokens=1),
    decoder(
        "Layer scale",
        (truth("*.layers.?.1.gamma"), truth()),
        "layer scale",
        use_layerscale=True,
    ),
    decoder("Value residual", special="the first layer's values again", add_value_residual=True),
    decoder("LASER", special="attention on exponentials of values", attn_laser=True),
)
