"""Image models of timm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from .entry import Entry, normal
from .hugging_face import HEAD, depth, evaluated, heads, width
from .packages import imported
from .truth import BOTTLENECK, EMBEDDING, POSITION, READOUT, VECTOR, Truth

HEADS = {"head.weight": READOUT}
FC = {"head.fc.weight": READOUT}
TOKENS = {"*cls_token": POSITION, "*pos_embed*": POSITION, "*reg_token": POSITION}
WIDTH_ONLY: dict[str, Any] = {"depths": None}
CHAIN = {"refused": {"depth": "plain chain"}}


def stages(n: int, d: int) -> tuple[int, int]:
    """Return the widths of two stages."""
    return n, 2 * n


def four_stages(n: int, d: int) -> tuple[int, int, int, int]:
    """Return the widths of four stages."""
    return n, n, 2 * n, 2 * n


def four_layers(n: int, d: int) -> tuple[int, int, int, int]:
    """Return the depths of four stages."""
    return d, d, d, d


def layers(n: int, d: int) -> tuple[int, int]:
    """Return the depths of two stages."""
    return d, d


def stage_heads(n: int, d: int) -> tuple[int, int]:
    """Return the numbers of heads of two stages."""
    return n // HEAD, 2 * n // HEAD


def model(
    name: str,
    module: str,
    cls: str,
    truth: Truth | Iterable[Truth],
    *,
    special: str = "",
    fields: Mapping[str, Any] | None = None,
    parts: Mapping[str, str] | None = None,
    **settings: Any,
) -> Entry:
    """Return the entry of a class of timm.

    Args:
        name: Name of the entry.
        module: Name of the class's module.
        cls: Name of the class.
        truth: The right way to scale it, or several.
        special: A few words for the table.
        fields: Further fields of the entry.
        parts: Arguments that are objects of the same module, by name.
        settings: Further arguments; functions get width and depth.
    """

    def build(n: int, d: int) -> nn.Module:
        home = imported(f"timm.models.{module}")
        objects = {key: getattr(home, value) for key, value in (parts or {}).items()}
        values = {key: evaluated(value, n, d) for key, value in settings.items()}
        built: nn.Module = getattr(home, cls)(num_classes=10, **objects, **values)
        return built

    return Entry(
        name=name,
        package="timm",
        build=build,
        inputs=lambda: normal(2, 3, 32, 32),
        truths=(truth,) if isinstance(truth, Truth) else tuple(truth),
        special=special,
        **(fields or {}),
    )


def either(truth: Truth, *ends: tuple[str, ...]) -> tuple[Truth, ...]:
    """Return the truths that differ in the tensors which carry the branches' multipliers."""
    return tuple(truth.but(ends=each) for each in ends)


VIT_SIZES: dict[str, Any] = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": width,
    "depth": depth,
    "num_heads": heads,
}
VIT_ENDS = ("blocks.*.attn.proj.*", "blocks.*.mlp.fc2.*")
VIT = Truth(kinds=HEADS, words=TOKENS, ends=VIT_ENDS)
GAMMAS = ("blocks.*.gamma_?",)

TRANSFORMERS = (
    model("ViT", "vision_transformer", "VisionTransformer", VIT, **VIT_SIZES),
    model(
        "ViT, layer scale",
        "vision_transformer",
        "VisionTransformer",
        either(VIT, ("blocks.*.ls?.gamma",), VIT_ENDS),
        init_values=1e-5,
        special="layer scale",
        **VIT_SIZES,
    ),
    model(
        "ViT, registers and qk-norm",
        "vision_transformer",
        "VisionTransformer",
        VIT,
        qk_norm=True,
        reg_tokens=4,
        special="norms on queries and keys; registers",
        **VIT_SIZES,
    ),
    model(
        "ViT, attention pool",
        "vision_transformer",
        "VisionTransformer",
        Truth(
            kinds={**HEADS, "attn_pool.latent": POSITION},
            words=TOKENS,
            ends=VIT_ENDS,
        ),
        global_pool="map",
        class_token=False,
        special="a learned query pools the patches",
        **VIT_SIZES,
    ),
    model(
        "ViT, fused parallel blocks",
        "vision_transformer",
        "VisionTransformer",
        VIT.but(ends=("blocks.*.attn_out_proj.*", "blocks.*.mlp_out_proj.*")),
        parts={"block_fn": "ParallelScalingBlock"},
        special="one input matrix for attention and MLP (ViT-22B)",
        **VIT_SIZES,
    ),
    model(
        "ViT, parallel pairs",
        "vision_transformer",
        "VisionTransformer",
        VIT.but(ends=("blocks.*.attns.*.attn.proj.*", "blocks.*.ffns.*.mlp.fc2.*")),
        parts={"block_fn": "ParallelThingsBlock"},
        special="two attentions, then two MLPs, side by side",
        **VIT_SIZES,
    ),
    model(
        "ViT, norm after the branch",
        "vision_transformer",
        "VisionTransformer",
        VIT.but(ends=("blocks.*.norm?.*",)),
        parts={"block_fn": "ResPostBlock"},
        special="a norm ends each branch",
        **VIT_SIZES,
    ),
    model(
        "DeiT, distilled",
        "deit",
        "VisionTransformerDistilled",
        VIT.but({"head_dist.weight": READOUT, "dist_token": POSITION}),
        special="two tokens, two readouts",
        **VIT_SIZES,
    ),
    model(
        "CaiT",
        "cait",
        "Cait",
        (
            Truth(kinds=HEADS, words=TOKENS, ends=("blocks.*.gamma_?",)),
            Truth(kinds=HEADS, words=TOKENS, ends=VIT_ENDS),
        ),
        special="talking heads; two layers of class attention at the end",
        **VIT_SIZES,
    ),
    model(
        "BEiT",
        "beit",
        "Beit",
        either(
            Truth(kinds={**HEADS, "*.relative_position_bias_table": EMBEDDING}, words=TOKENS),
            GAMMAS,
            VIT_ENDS,
        ),
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        special="layer scale; relative positions",
        **VIT_SIZES,
    ),
    model(
        "EVA-02",
        "eva",
        "Eva",
        Truth(kinds=HEADS, words=TOKENS, ends=VIT_ENDS),
        qkv_fused=False,
        swiglu_mlp=True,
        scale_mlp=True,
        mlp_ratio=2,
        use_rot_pos_emb=True,
        special="rotary positions; a norm inside the MLP",
        **VIT_SIZES,
    ),
    model(
        "XCiT",
        "xcit",
        "Xcit",
        either(
            Truth(kinds=HEADS, words=TOKENS),
            ("blocks.*.gamma?",),
            ("blocks.*.attn.proj.*", "blocks.*.mlp.fc2.*", "blocks.*.local_mp.conv2.*"),
        ),
        special="attention between channels, cosine",
        **VIT_SIZES,
    ),
    model(
        "ConViT",
        "convit",
        "ConVit",
        Truth(
            kinds={**HEADS, "*.pos_proj.weight": VECTOR},
            words=TOKENS,
            ends=VIT_ENDS,
        ),
        local_up_to_layer=2,
        special="heads gated between content and position",
        fields=WIDTH_ONLY,
        **{**VIT_SIZES, "embed_dim": HEAD},
    ),
    model(
        "Swin",
        "swin_transformer",
        "SwinTransformer",
        Truth(
            kinds={**FC, "*.relative_position_bias_table": EMBEDDING},
            ends=("*.attn.proj.*", "*.mlp.fc2.*"),
        ),
        img_size=32,
        embed_dim=width,
        depths=layers,
        num_heads=stage_heads,
        window_size=4,
        special="shifted windows; stochastic depth",
    ),
    model(
        "Swin v2",
        "swin_transformer_v2",
        "SwinTransformerV2",
        Truth(kinds=FC, ends=("*.norm1.*", "*.norm2.*")),
        img_size=32,
        embed_dim=width,
        depths=layers,
        num_heads=stage_heads,
        window_size=4,
        special="cosine attention; a norm ends each branch; positions by an MLP",
    ),
    model(
        "PVT v2",
        "pvt_v2",
        "PyramidVisionTransformerV2",
        Truth(kinds=HEADS, ends=("*.attn.proj.*", "*.mlp.fc2.*")),
        embed_dims=stages,
        depths=layers,
        num_heads=stage_heads,
        sr_ratios=(2, 1),
        mlp_ratios=(2, 2),
    ),
    model(
        "PiT",
        "pit",
        "PoolingVisionTransformer",
        Truth(kinds=HEADS, words=TOKENS, ends=("*.attn.proj.*", "*.mlp.fc2.*")),
        img_size=32,
        patch_size=8,
        stride=4,
        base_dims=(HEAD, HEAD),
        depth=layers,
        heads=stage_heads,
        special="pooling by depthwise convolutions between stages",
    ),
    model(
        "LeViT",
        "levit",
        "Levit",
        Truth(
            kinds={
                "head.linear.weight": READOUT,
                "*.attention_biases": VECTOR,
            },
        ),
        img_size=32,
        embed_dim=(lambda n, d: (n, 2 * n)),
        key_dim=HEAD,
        depth=layers,
        num_heads=stage_heads,
        special="attention with batch normalisation",
        fields=WIDTH_ONLY,
    ),
    model(
        "DaViT",
        "davit",
        "DaVit",
        Truth(kinds=FC, ends=("*.attn.proj.*", "*.mlp.fc2.*")),
        embed_dims=stages,
        depths=layers,
        num_heads=stage_heads,
        window_size=4,
        special="attention over positions and over channels; positions by convolutions",
        fields=WIDTH_ONLY,
    ),
    model(
        "Hiera",
        "hiera",
        "Hiera",
        Truth(
            kinds={**FC, "pos_embed*": POSITION},
            ends=("*.attn.proj.*", "*.mlp.fc2.*"),
        ),
        img_size=(32, 32),
        embed_dim=width,
        num_heads=heads,
        stages=layers,
        q_pool=1,
        mask_unit_size=(4, 4),
        mask_unit_attn=(True, False),
        special="queries pooled between stages",
        fields=WIDTH_ONLY,
    ),
    model(
        "TNT",
        "tnt",
        "TNT",
        Truth(
            kinds={**HEADS, "patch_pos": POSITION, "pixel_pos": POSITION},
            words=TOKENS,
            ends=("*.proj.*", "*.fc2.*"),
        ),
        img_size=32,
        patch_size=16,
        embed_dim=width,
        inner_dim=lambda n, d: n // 4,
        depth=depth,
        num_heads_inner=lambda n, d: n // 16,
        num_heads_outer=heads,
        special="a transformer over pixels inside one over patches",
        fields=WIDTH_ONLY,
    ),
)

MIXERS = (
    model(
        "MLP-Mixer",
        "mlp_mixer",
        "MlpMixer",
        Truth(
            kinds={**HEADS, "*.mlp_tokens.fc2.weight": BOTTLENECK},
            ends=("*.mlp_tokens.fc2.*", "*.mlp_channels.fc2.*"),
        ),
        img_size=32,
        patch_size=8,
        num_blocks=depth,
        embed_dim=width,
        special="the token MLP grows with the width, the number of tokens does not",
    ),
    model(
        "ResMLP",
        "mlp_mixer",
        "MlpMixer",
        either(
            Truth(kinds={**HEADS, "*.alpha": VECTOR, "*.beta": VECTOR}),
            ("*.ls?",),
            ("*.linear_tokens.*", "*.mlp_channels.fc2.*"),
        ),
        parts={"block_layer": "ResBlock", "norm_layer": "Affine"},
        img_size=32,
        patch_size=8,
        num_blocks=depth,
        embed_dim=width,
        mlp_ratio=4,
        special="affine maps instead of norms; layer scale",
    ),
    model(
        "gMLP",
        "mlp_mixer",
        "MlpMixer",
        Truth(kinds=HEADS, ends=("*.mlp_channels.fc2.*",)),
        parts={"block_layer": "SpatialGatingBlock", "mlp_layer": "GatedMlp"},
        img_size=32,
        patch_size=8,
        num_blocks=depth,
        embed_dim=width,
        mlp_ratio=4,
        special="gates over positions",
    ),
    model(
        "PoolFormer",
        "metaformer",
        "MetaFormer",
        (
            Truth(kinds={"head.fc.fc2.weight": READOUT}, ends=("*.layer_scale?.scale",)),
            Truth(kinds={"head.fc.fc2.weight": READOUT}, ends=("*.mlp.fc2.*",)),
        ),
        dims=stages,
        depths=layers,
        layer_scale_init_values=1e-5,
        res_scale_init_values=(None, None),
        special="pooling as the mixer; layer scale",
        fields=WIDTH_ONLY,
    ),
    model(
        "Sequencer",
        "sequencer",
        "Sequencer2d",
        Truth(kinds=FC, ends=("*.rnn_tokens.fc.*", "*.mlp_channels.fc2.*")),
        img_size=32,
        layers=layers,
        patch_sizes=(4, 2),
        embed_dims=stages,
        hidden_sizes=lambda n, d: (n // 4, n // 2),
        mlp_ratios=(2, 2),
        special="LSTMs along rows and columns as the mixer",
    ),
)

CONVOLUTIONS = (
    model(
        "ConvNeXt",
        "convnext",
        "ConvNeXt",
        either(Truth(kinds=FC), ("*.gamma",), ("*.mlp.fc2.*",)),
        dims=four_stages,
        depths=four_layers,
        special="depthwise convolutions; layer scale",
    ),
    model(
        "ConvNeXt V2",
        "convnext",
        "ConvNeXt",
        Truth(kinds=FC, ends=("*.mlp.fc2.*",)),
        dims=four_stages,
        depths=four_layers,
        use_grn=True,
        ls_init_value=None,
        special="responses normalised over the image",
    ),
    model(
        "InceptionNeXt",
        "inception_next",
        "MetaNeXt",
        either(Truth(kinds={"head.fc2.weight": READOUT}), ("*.gamma",), ("*.mlp.fc2.*",)),
        dims=stages,
        depths=layers,
        mlp_ratios=(4, 4),
        special="channels split over kernels of several shapes",
    ),
    model(
        "MambaOut",
        "mambaout",
        "MambaOut",
        Truth(kinds=FC, ends=("stages.*.fc2.*",)),
        dims=stages,
        depths=layers,
        expansion_ratio=2.0,
        special="gated depthwise convolutions",
        fields=WIDTH_ONLY,
    ),
    model(
        "StarNet",
        "starnet",
        "StarNet",
        Truth(kinds=HEADS, ends=("*.dwconv2.*",)),
        base_dim=width,
        depths=layers,
        mlp_ratio=2,
        special="products of features",
        fields=WIDTH_ONLY,
    ),
    model(
        "ConvMixer",
        "convmixer",
        "ConvMixer",
        Truth(kinds=HEADS),
        dim=width,
        depth=depth,
        kernel_size=3,
        patch_size=4,
        special="a residual add inside a chain",
        fields=CHAIN,
    ),
    model(
        "ResNet, basic blocks",
        "resnet",
        "ResNet",
        Truth(kinds={"fc.weight": READOUT}),
        parts={"block": "BasicBlock"},
        layers=(2, 2, 1, 1),
        channels=four_stages,
        stem_width=width,
        special="batch normalisation; projections on shortcuts",
        fields=WIDTH_ONLY,
    ),
    model(
        "ResNet, bottlenecks",
        "resnet",
        "ResNet",
        Truth(kinds={"fc.weight": READOUT}),
        parts={"block": "Bottleneck"},
        layers=(2, 2, 1, 1),
        channels=four_stages,
        stem_width=width,
        special="bottlenecks; anti-aliasing off",
        fields=WIDTH_ONLY,
    ),
    model(
        "SE-ResNet",
        "resnet",
        "ResNet",
        Truth(kinds={"fc.weight": READOUT}),
        parts={"block": "Bottleneck"},
        layers=(1, 1, 1, 1),
        channels=four_stages,
        block_args={"attn_layer": "se"},
        special="squeeze and excitation",
        fields=WIDTH_ONLY,
    ),
    model(
        "GC-ResNet",
        "resnet",
        "ResNet",
        Truth(kinds={"fc.weight": READOUT, "*.conv_attn.weight": BOTTLENECK}),
        parts={"block": "Bottleneck"},
        layers=(1, 1, 1, 1),
        channels=four_stages,
        block_args={"attn_layer": "gc"},
        special="global context: a softmax over positions, scored by features",
        fields=WIDTH_ONLY,
    ),
    model(
        "ResNet v2",
        "resnetv2",
        "ResNetV2",
        Truth(kinds=FC),
        layers=[2, 2],
        channels=lambda n, d: (4 * n, 8 * n),
        stem_chs=width,
        special="pre-activation, standardised weights, group normalisation",
        fields=WIDTH_ONLY,
    ),
    model(
        "DenseNet",
        "densenet",
        "DenseNet",
        Truth(kinds={"classifier.weight": READOUT}),
        growth_rate=lambda n, d: n // 4,
        block_config=(2, 2),
        special="features concatenated",
        fields=WIDTH_ONLY,
    ),
    model(
        "VGG",
        "vgg",
        "VGG",
        Truth(kinds={"pre_logits.fc2.weight": BOTTLENECK, "head.fc.weight": VECTOR}),
        cfg=lambda n, d: [n, "M", 2 * n, "M"],
        mlp_ratio=lambda n, d: n / 4096,
        special="a convolution over the whole image before the readout",
        fields=WIDTH_ONLY,
    ),
)

ENTRIES = (*TRANSFORMERS, *MIXERS, *CONVOLUTIONS)
