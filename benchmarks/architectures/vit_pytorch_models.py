"""Variants of vit-pytorch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from .entry import Entry, normal
from .hugging_face import HEAD
from .packages import imported
from .truth import HIDDEN, POSITION, READOUT, VECTOR, Kind, Truth

WIDTH_ONLY: dict[str, Any] = {"depths": None}
TOKENS = {"cls_token": POSITION, "pos_embedding": POSITION, "register_tokens": POSITION}
ENDS = ("*.to_out.*", "*.net.[34].*")


def truth(head: str, *ends: str, **kinds: Kind) -> Truth:
    """Return the truth of a transformer of images."""
    return Truth(kinds={head: READOUT, **kinds}, words=TOKENS, ends=ends or ENDS)


def vit(
    name: str,
    module: str,
    right: Truth | Iterable[Truth],
    special: str = "",
    cls: str = "ViT",
    fields: dict[str, Any] | None = None,
    **settings: Any,
) -> Entry:
    """Return the entry of a class of vit-pytorch."""

    def build(n: int, d: int) -> nn.Module:
        imported("vit_pytorch")
        sizes = {"dim": n, "depth": d, "heads": n // HEAD, "mlp_dim": 2 * n, "dim_head": HEAD}
        model: nn.Module = getattr(imported(f"vit_pytorch.{module}"), cls)(
            image_size=32, patch_size=8, num_classes=10, **sizes, **settings
        )
        return model

    return Entry(
        name=name,
        package="vit_pytorch",
        build=build,
        inputs=lambda: normal(2, 3, 32, 32),
        truths=(right,) if isinstance(right, Truth) else tuple(right),
        special=special,
        **(fields or {}),
    )


SIMPLE = truth("linear_head.weight")
CLASSIC = truth("mlp_head.1.weight")

ENTRIES = (
    vit("ViT", "vit", truth("mlp_head.weight")),
    vit("Simple ViT", "simple_vit", SIMPLE, "fixed positions", "SimpleViT"),
    vit(
        "Simple ViT, qk-norm",
        "simple_vit_with_qk_norm",
        Truth(ends=ENDS),
        "norms on queries and keys, a gain for each head; the output is features",
        "SimpleViT",
    ),
    vit("Simple ViT, registers", "simple_vit_with_register_tokens", SIMPLE, "", "SimpleViT"),
    vit(
        "Simple ViT, value residual",
        "simple_vit_with_value_residual",
        truth("linear_head.weight", "*.to_out.*", "*.layers.*.1.3.*"),
        "the first layer's values, mixed in by a gate for each head",
        "SimpleViT",
    ),
    vit(
        "Simple ViT, Fourier",
        "simple_vit_with_fft",
        SIMPLE,
        "patches and their spectrum",
        "SimpleViT",
        freq_patch_size=8,
    ),
    vit(
        "U-ViT",
        "simple_uvit",
        truth("linear_head.weight", "*.to_out.*"),
        "skips concatenated and put through a matrix",
        "SimpleUViT",
        WIDTH_ONLY,
        num_register_tokens=2,
    ),
    vit(
        "DeepViT",
        "deepvit",
        truth("mlp_head.1.weight", **{"*.reattn_weights": HIDDEN}),
        "attention maps mixed between heads, and a norm over heads",
        "DeepViT",
    ),
    vit(
        "CaiT",
        "cait",
        (
            truth(
                "mlp_head.1.weight",
                "patch_transformer.layers.*.scale",
                **{"*.scale": VECTOR},
            ),
            truth(
                "mlp_head.1.weight",
                "patch_transformer.*.to_out.*",
                "patch_transformer.*.net.4.*",
                **{"*.scale": VECTOR},
            ),
        ),
        "talking heads; two layers of class attention at the end",
        "CaiT",
        cls_depth=2,
    ),
    vit(
        "Parallel ViT",
        "parallel_vit",
        CLASSIC,
        "two branches side by side",
        num_parallel_branches=2,
    ),
    vit(
        "ViT for small data",
        "vit_for_small_dataset",
        CLASSIC,
        "shifted patches, a learned temperature",
    ),
    vit(
        "Patch merger",
        "vit_with_patch_merger",
        truth("mlp_head.1.weight", **{"*.queries": Kind((0.0, -0.5), -0.5)}),
        "learned queries, 1/sqrt(width) on their scores",
        patch_merge_layer=1,
        patch_merge_num_tokens=4,
        fields=WIDTH_ONLY,
    ),
    vit("RvT", "rvt", CLASSIC, "rotary positions, queries by convolutions", "RvT", WIDTH_ONLY),
)
