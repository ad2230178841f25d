"""Models of diffusers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from .entry import Entry, normal
from .hugging_face import HEAD, depth, evaluated, heads
from .truth import BOTTLENECK, EMBEDDING, HIDDEN, POSITION, READOUT, VECTOR, Truth

WIDTH_ONLY: dict[str, Any] = {"depths": None}
STEPS = torch.tensor([1, 2])


def diffuser(
    name: str,
    cls: str,
    truth: Truth | Iterable[Truth],
    inputs: Callable[[], Any],
    special: str = "",
    fields: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Entry:
    """Return the entry of a class of diffusers."""

    def build(n: int, d: int) -> nn.Module:
        import diffusers

        values = {key: evaluated(value, n, d) for key, value in settings.items()}
        model: nn.Module = getattr(diffusers, cls)(**values)
        return model

    return Entry(
        name=name,
        package="diffusers",
        build=build,
        inputs=inputs,
        truths=(truth,) if isinstance(truth, Truth) else tuple(truth),
        special=special,
        **(fields or {}),
    )


def stages(n: int, d: int) -> tuple[int, int]:
    """Return the widths of two stages."""
    return n, 2 * n


def stage_heads(n: int, d: int) -> tuple[int, int]:
    """Return the numbers of heads of two stages."""
    return n // HEAD, 2 * n // HEAD


def noisy() -> dict[str, Any]:
    """Return noisy images and times."""
    return {"sample": normal(2, 3, 8, 8), "timestep": STEPS}


IMAGES = {"sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1}
LATENT = {"sample_size": 8, "patch_size": 2, "in_channels": 4, "out_channels": 4}
BLOCKS = {"num_attention_heads": heads, "attention_head_dim": HEAD, "num_layers": depth}
CODES = {
    "block_out_channels": stages,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
}
CODED = {"encoder.conv_out.weight": BOTTLENECK, "decoder.conv_out.weight": READOUT}
QUERY = {"*.to_q.weight": HIDDEN.times(-0.5), "*.to_q.bias": VECTOR.times(-0.5)}
KEY = {"*.to_k.weight": HIDDEN.times(-0.5), "*.to_k.bias": VECTOR.times(-0.5)}
GROWING_HEAD = (Truth(kinds={**QUERY, **CODED}), Truth(kinds={**KEY, **CODED}))

ENTRIES = (
    diffuser(
        "UNet",
        "UNet2DModel",
        Truth(kinds={"conv_out.weight": READOUT}),
        noisy,
        "skips concatenated; attention in one stage",
        WIDTH_ONLY,
        **IMAGES,
        block_out_channels=stages,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=HEAD,
    ),
    diffuser(
        "UNet with text",
        "UNet2DConditionModel",
        Truth(kinds={"conv_out.weight": READOUT}),
        lambda: noisy() | {"encoder_hidden_states": normal(2, 5, 12, seed=1)},
        "attention to a text of fixed width",
        WIDTH_ONLY,
        **IMAGES,
        block_out_channels=stages,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=stage_heads,
        cross_attention_dim=12,
    ),
    diffuser(
        "DiT",
        "DiTTransformer2DModel",
        Truth(
            kinds={"*.embedding_table.weight": EMBEDDING, "proj_out_2.weight": READOUT},
            ends=("*.attn1.to_out.*", "*.ff.net.2.*"),
        ),
        lambda: {
            "hidden_states": normal(2, 4, 8, 8),
            "timestep": STEPS,
            "class_labels": STEPS,
        },
        "adaptive norms; each block embeds the time",
        **LATENT,
        **BLOCKS,
        num_embeds_ada_norm=10,
    ),
    diffuser(
        "PixArt",
        "PixArtTransformer2DModel",
        Truth(
            kinds={"*scale_shift_table": EMBEDDING, "proj_out.weight": READOUT},
            ends=("*.attn?.to_out.*", "*.ff.net.2.*"),
        ),
        lambda: {
            "hidden_states": normal(2, 4, 8, 8),
            "timestep": STEPS,
            "encoder_hidden_states": normal(2, 5, 12, seed=1),
            "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
        },
        "one modulation for all blocks, and a table in each",
        **LATENT,
        **BLOCKS,
        cross_attention_dim=lambda n, d: n,
        caption_channels=12,
        norm_type="ada_norm_single",
    ),
    diffuser(
        "Stable Diffusion 3",
        "SD3Transformer2DModel",
        Truth(kinds={"proj_out.weight": READOUT}),
        lambda: {
            "hidden_states": normal(2, 4, 8, 8),
            "timestep": STEPS,
            "encoder_hidden_states": normal(2, 5, 12, seed=1),
            "pooled_projections": normal(2, 6, seed=2),
        },
        "two streams with attention in common",
        WIDTH_ONLY,
        **LATENT,
        **BLOCKS,
        joint_attention_dim=12,
        caption_projection_dim=lambda n, d: n,
        pooled_projection_dim=6,
        pos_embed_max_size=8,
    ),
    diffuser(
        "Flux",
        "FluxTransformer2DModel",
        Truth(
            kinds={"proj_out.weight": READOUT},
            ends=(
                "transformer_blocks.*.to_out.*",
                "transformer_blocks.*.to_add_out.*",
                "transformer_blocks.*.net.2.*",
                "single_transformer_blocks.*.proj_out.*",
            ),
        ),
        lambda: {
            "hidden_states": normal(2, 9, 4),
            "timestep": torch.tensor([0.1, 0.2]),
            "encoder_hidden_states": normal(2, 5, 12, seed=1),
            "pooled_projections": normal(2, 6, seed=2),
            "img_ids": torch.zeros(9, 3),
            "txt_ids": torch.zeros(5, 3),
        },
        "two streams, then one; parallel blocks",
        patch_size=1,
        in_channels=4,
        **BLOCKS,
        num_single_layers=depth,
        joint_attention_dim=12,
        pooled_projection_dim=6,
        axes_dims_rope=(4, 2, 2),
    ),
    diffuser(
        "Prior transformer",
        "PriorTransformer",
        Truth(
            kinds={
                "positional_embedding": POSITION,
                "prd_embedding": POSITION,
                "proj_to_clip_embeddings.weight": READOUT,
            },
            ends=("*.to_out.*", "*.ff.net.2.*"),
        ),
        lambda: {
            "hidden_states": normal(2, 12),
            "timestep": STEPS,
            "proj_embedding": normal(2, 12, seed=1),
            "encoder_hidden_states": normal(2, 5, 12, seed=2),
        },
        "tokens of several kinds; reads out the last",
        **BLOCKS,
        embedding_dim=12,
        num_embeddings=5,
        additional_embeddings=4,
    ),
    diffuser(
        "Autoencoder",
        "AutoencoderKL",
        GROWING_HEAD,
        lambda: normal(2, 3, 8, 8),
        "one head of all channels, 1/sqrt(d) on its scores",
        WIDTH_ONLY,
        **CODES,
    ),
    diffuser(
        "VQ autoencoder",
        "VQModel",
        GROWING_HEAD,
        lambda: normal(2, 3, 8, 8),
        "a codebook; one head of all channels",
        WIDTH_ONLY,
        **CODES,
        num_vq_embeddings=8,
    ),
)
