"""Models of Hugging Face for images, sound, series, and several of them at once."""

from __future__ import annotations

import torch
from torch import Tensor

from .entry import normal, tokens
from .hugging_face import (
    HEAD,
    POST_NORM,
    SIZES,
    TEXT,
    VISION,
    depth,
    heads,
    hf,
    pixels,
    text,
    twice,
    width,
)
from .truth import (
    CARRIES,
    EMBEDDING,
    POSITION,
    READOUT,
    TIED,
    VECTOR,
    Truth,
)

WIDTH_ONLY = {"depths": None}
TOKENS = {
    "*cls_token": POSITION,
    "*position_embeddings": POSITION,
    "*mask_token": POSITION,
    "*distillation_token": POSITION,
}
CLASSIFIER = {"classifier.weight": READOUT}
VIT = Truth(kinds=CLASSIFIER, words=TOKENS, ends=("*.o_proj.*", "*.fc2.*"))
BEIT_ENDS = ("*.attention.output.dense.*", "*.layer.?.output.dense.*")


def scaled(scale: tuple[str, ...], linear: tuple[str, ...], truth: Truth) -> tuple[Truth, Truth]:
    """Return the truths of branches that end in a layer scale: it or the linear layer carries."""
    return truth.but(ends=scale), truth.but(ends=linear)


def stages(n: int, d: int) -> list[int]:
    """Return the widths of two stages."""
    return [n, 2 * n]


def layers(n: int, d: int) -> list[int]:
    """Return the depths of two stages."""
    return [d, d]


TRANSFORMERS = (
    hf(
        "ViT",
        "ViTForImageClassification",
        VIT,
        settings=VISION,
        inputs=pixels,
        fields={"proved": True},
    ),
    hf(
        "DeiT",
        "DeiTForImageClassification",
        VIT,
        settings=VISION,
        inputs=pixels,
        special="a second token, for distillation",
    ),
    hf(
        "ViT-MSN",
        "ViTMSNForImageClassification",
        VIT,
        settings=VISION,
        inputs=pixels,
    ),
    hf(
        "I-JEPA",
        "IJepaForImageClassification",
        VIT,
        settings=VISION,
        inputs=pixels,
        special="the mean of the patches",
    ),
    hf(
        "DINOv2",
        "Dinov2ForImageClassification",
        scaled(
            ("*.layer_scale?.lambda1",),
            ("*.o_proj.*", "*.fc2.*"),
            VIT,
        ),
        settings={k: v for k, v in VISION.items() if k != "intermediate_size"},
        inputs=pixels,
        special="layer scale",
    ),
    hf(
        "BEiT",
        "BeitForImageClassification",
        scaled(
            ("*.lambda_?",),
            ("*.o_proj.*", "*.fc2.*"),
            Truth(
                kinds={**CLASSIFIER, "*.relative_position_bias_table": EMBEDDING},
                words=TOKENS,
            ),
        ),
        settings=VISION,
        inputs=pixels,
        use_relative_position_bias=True,
        special="layer scale; a bias of attention by distance",
    ),
    hf(
        "Data2Vec, vision",
        "Data2VecVisionForImageClassification",
        scaled(
            ("*.lambda_?",),
            BEIT_ENDS,
            Truth(
                kinds={**CLASSIFIER, "*.relative_position_bias_table": EMBEDDING},
                words=TOKENS,
            ),
        ),
        settings=VISION,
        inputs=pixels,
        use_shared_relative_position_bias=True,
        special="one bias of attention for all layers",
    ),
    hf(
        "ViT-MAE",
        "ViTMAEForPreTraining",
        Truth(
            kinds={"decoder.decoder_pred.weight": READOUT, "*decoder_pos_embed": POSITION},
            words=TOKENS,
            ends=("*.o_proj.*", "*.fc2.*"),
        ),
        settings=VISION,
        inputs=lambda: pixels() | {"noise": torch.linspace(0, 1, 16).repeat(2, 1)},
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        decoder_num_attention_heads=heads,
        decoder_intermediate_size=twice,
        special="masked patches, and a decoder",
    ),
    hf(
        "VideoMAE",
        "VideoMAEForVideoClassification",
        Truth(kinds=CLASSIFIER, ends=BEIT_ENDS),
        config="VideoMAEConfig",
        settings=VISION,
        inputs=lambda: {"pixel_values": normal(2, 4, 3, 32, 32)},
        num_frames=4,
        special="a convolution in space and time",
    ),
    hf(
        "TimeSformer",
        "TimesformerForVideoClassification",
        Truth(
            kinds={**CLASSIFIER, "*time_embeddings": POSITION},
            words=TOKENS,
            ends=(*BEIT_ENDS, "*.temporal_dense.*"),
        ),
        settings=VISION,
        inputs=lambda: {"pixel_values": normal(2, 4, 3, 32, 32)},
        num_frames=4,
        special="attention in time, then in space",
    ),
    hf(
        "Swin",
        "SwinForImageClassification",
        Truth(
            kinds={"*.relative_position_bias_table": EMBEDDING, **CLASSIFIER},
            ends=("*.o_proj.*", "*.fc2.*"),
        ),
        settings={},
        embed_dim=width,
        depths=layers,
        num_heads=lambda n, d: [n // HEAD, 2 * n // HEAD],
        image_size=32,
        patch_size=4,
        window_size=4,
        num_labels=10,
        inputs=pixels,
        special="shifted windows; patches merged between stages",
    ),
    hf(
        "PoolFormer",
        "PoolFormerForImageClassification",
        scaled(
            ("*.layer_scale_?",),
            ("*.output.conv2.*",),
            Truth(kinds=CLASSIFIER),
        ),
        config="PoolFormerConfig",
        settings={},
        hidden_sizes=stages,
        depths=layers,
        num_encoder_blocks=2,
        patch_sizes=[7, 3],
        strides=[4, 2],
        padding=[2, 1],
        num_labels=10,
        inputs=pixels,
        special="pooling instead of attention; layer scale",
    ),
    hf(
        "SegFormer",
        "SegformerForImageClassification",
        Truth(kinds=CLASSIFIER, ends=("*.o_proj.*", "*.fc2.*")),
        settings={},
        hidden_sizes=stages,
        depths=layers,
        num_encoder_blocks=2,
        num_attention_heads=lambda n, d: [n // HEAD, 2 * n // HEAD],
        sr_ratios=[2, 1],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
        num_labels=10,
        inputs=pixels,
        special="keys from shrunken images; depthwise convolutions in the MLP",
    ),
    hf(
        "PVT v2",
        "PvtV2ForImageClassification",
        Truth(kinds=CLASSIFIER, ends=("*.attention.proj.*", "*.mlp.dense2.*")),
        settings={},
        hidden_sizes=stages,
        depths=layers,
        num_encoder_blocks=2,
        num_attention_heads=lambda n, d: [n // HEAD, 2 * n // HEAD],
        sr_ratios=[2, 1],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
        num_labels=10,
        inputs=pixels,
    ),
    hf(
        "ImageGPT",
        "ImageGPTForCausalImageModeling",
        Truth(
            kinds={"*.wte.weight": EMBEDDING, "*.wpe.weight": EMBEDDING, "lm_head.weight": READOUT},
            ends=("*.c_proj.*",),
        ),
        config="ImageGPTConfig",
        settings={},
        vocab_size=65,
        n_positions=32,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        inputs=lambda: {"input_ids": tokens(2, 12)},
    ),
)

CONVOLUTIONS = (
    hf(
        "ResNet",
        "ResNetForImageClassification",
        Truth(kinds={"classifier.1.weight": READOUT}),
        settings={},
        embedding_size=width,
        hidden_sizes=stages,
        depths=[2, 3],
        num_labels=10,
        inputs=pixels,
        special="batch normalisation; projections on shortcuts",
        fields=WIDTH_ONLY,
    ),
    hf(
        "RegNet",
        "RegNetForImageClassification",
        Truth(kinds={"classifier.1.weight": READOUT}),
        settings={},
        embedding_size=width,
        hidden_sizes=stages,
        depths=[2, 2],
        groups_width=16,
        num_labels=10,
        inputs=pixels,
        special="grouped convolutions; squeeze and excitation",
        fields=WIDTH_ONLY,
    ),
    hf(
        "BiT",
        "BitForImageClassification",
        Truth(kinds={"classifier.1.weight": READOUT}),
        settings={},
        embedding_size=width,
        hidden_sizes=stages,
        depths=[2, 2],
        num_groups=8,
        num_labels=10,
        inputs=pixels,
        special="standardised weights, group normalisation",
        fields=WIDTH_ONLY,
    ),
    hf(
        "ConvNeXt",
        "ConvNextForImageClassification",
        scaled(("*.layer_scale_parameter",), ("*.pwconv2.*",), Truth(kinds=CLASSIFIER)),
        settings={},
        hidden_sizes=stages,
        depths=layers,
        num_stages=2,
        image_size=32,
        num_labels=10,
        inputs=pixels,
        special="depthwise convolutions; layer scale",
    ),
    hf(
        "ConvNeXt V2",
        "ConvNextV2ForImageClassification",
        Truth(
            kinds={**CLASSIFIER, "*.grn.weight": VECTOR, "*.grn.bias": VECTOR},
            ends=("*.pwconv2.*",),
        ),
        settings={},
        hidden_sizes=stages,
        depths=layers,
        num_stages=2,
        image_size=32,
        num_labels=10,
        inputs=pixels,
        special="responses normalised over the image",
    ),
    hf(
        "FocalNet",
        "FocalNetForImageClassification",
        Truth(
            kinds=CLASSIFIER,
            ends=("*.modulation.projection_out.*", "*.mlp.fc2.*"),
        ),
        settings={},
        embed_dim=width,
        hidden_sizes=stages,
        depths=layers,
        focal_levels=[2, 2],
        focal_windows=[3, 3],
        image_size=32,
        num_labels=10,
        inputs=pixels,
        special="modulation by context instead of attention",
    ),
    hf(
        "MobileNet V2",
        "MobileNetV2ForImageClassification",
        Truth(kinds=CLASSIFIER),
        settings={},
        depth_multiplier=lambda n, d: n / 32,
        image_size=32,
        num_labels=10,
        inputs=pixels,
        special="inverted residual blocks",
        fields=WIDTH_ONLY,
    ),
)


def sound() -> dict[str, Tensor]:
    """Return two short waves."""
    return {"input_values": normal(2, 800)}


def frames() -> dict[str, Tensor]:
    """Return a spectrogram and the decoder's tokens."""
    return {"input_features": normal(2, 8, 24), "decoder_input_ids": tokens(2, 7)}


WAVES = (
    SIZES
    | TEXT
    | {
        "conv_dim": lambda n, d: (n, n),
        "conv_stride": (5, 2),
        "conv_kernel": (10, 3),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": heads,
    }
)

POSITIONS = {"*parametrizations.weight.original0": VECTOR.times(0.5)}
"""The norm that the weights are divided by is over all channels, so that their length has to grow.

Each output sums over a group of constant size, and its weights have to keep their size.
"""

SOUND = (
    hf(
        "Whisper",
        "WhisperForConditionalGeneration",
        Truth(
            kinds={
                "*.embed_tokens.weight": TIED,
                "*.embed_positions.weight": EMBEDDING,
                "model.decoder.layer_norm.*": CARRIES,
            },
            ends=("*.out_proj.*", "*.fc2.*"),
        ),
        settings=TEXT,
        d_model=width,
        encoder_layers=depth,
        decoder_layers=depth,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=twice,
        decoder_ffn_dim=twice,
        num_mel_bins=8,
        max_source_positions=12,
        max_target_positions=16,
        decoder_start_token_id=0,
        inputs=frames,
        special="convolutions on the spectrogram; fixed positions that are parameters",
    ),
    hf(
        "Audio Spectrogram Transformer",
        "ASTForAudioClassification",
        Truth(
            kinds={"classifier.dense.weight": READOUT}, words=TOKENS, ends=("*.o_proj.*", "*.fc2.*")
        ),
        config="ASTConfig",
        settings=SIZES,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        max_length=32,
        num_mel_bins=16,
        num_labels=10,
        inputs=lambda: {"input_values": normal(2, 32, 16)},
    ),
    hf(
        "Wav2Vec2",
        "Wav2Vec2ForCTC",
        Truth(kinds={"lm_head.weight": READOUT, "*masked_spec_embed": VECTOR, **POSITIONS}),
        settings=WAVES,
        num_feat_extract_layers=2,
        inputs=sound,
        special="a position by a grouped convolution with weight norm; post-norm",
        fields=POST_NORM,
    ),
    hf(
        "HuBERT, pre-norm",
        "HubertForCTC",
        Truth(
            kinds={"lm_head.weight": READOUT, "*masked_spec_embed": VECTOR, **POSITIONS},
            ends=("*.attention.out_proj.*", "*.output_dense.*"),
        ),
        settings=WAVES,
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        inputs=sound,
        special="a position by a grouped convolution with weight norm",
    ),
    hf(
        "WavLM",
        "WavLMForCTC",
        Truth(
            kinds={
                "lm_head.weight": READOUT,
                "*masked_spec_embed": VECTOR,
                **POSITIONS,
                "*.rel_attn_embed.weight": EMBEDDING,
                "*.gru_rel_pos_const": VECTOR,
            },
            ends=("*.attention.out_proj.*", "*.output_dense.*"),
        ),
        settings=WAVES,
        num_feat_extract_layers=2,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_buckets=8,
        max_bucket_distance=16,
        inputs=sound,
        special="gated bias of attention by distance",
    ),
)

PAIRED = {
    "text_config": SIZES | TEXT | {"max_position_embeddings": 16, "projection_dim": 12},
    "vision_config": SIZES | {"image_size": 32, "patch_size": 8, "projection_dim": 12},
}
SERIES = {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 3}

MIXED = (
    hf(
        "CLIP",
        "CLIPModel",
        Truth(
            kinds={
                "*.token_embedding.weight": EMBEDDING,
                "*.position_embedding.weight": EMBEDDING,
                "*class_embedding": POSITION,
                "*_projection.weight": READOUT,
            },
            ends=("*.out_proj.*", "*.fc2.*"),
        ),
        settings=PAIRED,
        projection_dim=12,
        inputs=lambda: text() | pixels(),
        special="two towers, a cosine of projections of fixed size",
    ),
    hf(
        "CLIP vision",
        "CLIPVisionModelWithProjection",
        Truth(
            kinds={
                "*.position_embedding.weight": EMBEDDING,
                "*class_embedding": POSITION,
                "*_projection.weight": READOUT,
            },
            ends=("*.out_proj.*", "*.fc2.*"),
        ),
        config="CLIPVisionConfig",
        settings=VISION,
        projection_dim=12,
        inputs=pixels,
        special="a projection as readout",
    ),
    hf(
        "SigLIP",
        "SiglipForImageClassification",
        Truth(
            kinds={
                "*.position_embedding.weight": EMBEDDING,
                "classifier.weight": READOUT,
                "*.probe": POSITION,
            },
            ends=("*.layers.*.out_proj.*", "*.layers.*.fc2.*"),
        ),
        config="SiglipConfig",
        settings={"vision_config": SIZES | {"image_size": 32, "patch_size": 8}},
        text_config=SIZES | TEXT,
        num_labels=10,
        inputs=pixels,
        special="a head that attends to the patches, unused here",
    ),
    hf(
        "ViLT",
        "ViltForQuestionAnswering",
        Truth(
            words=TOKENS,
            kinds={
                "*.word_embeddings.weight": EMBEDDING,
                "*.position_embeddings.weight": EMBEDDING,
                "*token_type_embeddings.weight": EMBEDDING,
                "classifier.3.weight": READOUT,
            },
            ends=BEIT_ENDS,
        ),
        config="ViltConfig",
        settings=SIZES | TEXT | {"image_size": 32, "patch_size": 8, "num_labels": 10},
        max_position_embeddings=16,
        inputs=lambda: text() | pixels(),
        special="words and patches in one stream",
    ),
    hf(
        "LLaVA",
        "LlavaForConditionalGeneration",
        Truth(
            kinds={
                "*.embed_tokens.weight": EMBEDDING,
                "*.position_embedding.weight": EMBEDDING,
                "*class_embedding": POSITION,
                "lm_head.weight": READOUT,
            },
            ends=("*.o_proj.*", "*.down_proj.*", "*.out_proj.*", "*.fc2.*"),
        ),
        settings={},
        vision_config={
            "model_type": "clip_vision_model",
            **SIZES,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config={"model_type": "llama", **SIZES, **TEXT},
        image_token_index=63,
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        inputs=lambda: {
            "input_ids": torch.cat([torch.full((2, 16), 63), tokens(2, 6, high=63)], 1),
            **pixels(),
        },
        special="patches of an image as tokens of a language model",
    ),
    hf(
        "PatchTST",
        "PatchTSTForPrediction",
        Truth(kinds={"head.projection.weight": READOUT, "*.position_enc": POSITION}),
        settings=SERIES,
        d_model=width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        ffn_dim=twice,
        prediction_length=4,
        norm_type="batchnorm",
        pre_norm=False,
        loss="mse",
        inputs=lambda: {"past_values": normal(2, 16, 3)},
        special="patches of a series; batch normalisation after each residual add",
        fields=POST_NORM,
    ),
    hf(
        "PatchTSMixer",
        "PatchTSMixerForPrediction",
        Truth(kinds={"head.base_forecast_block.weight": READOUT}),
        settings=SERIES,
        d_model=width,
        num_layers=depth,
        prediction_length=4,
        mode="common_channel",
        inputs=lambda: {"past_values": normal(2, 16, 3)},
        special="MLPs over time and features, with gates",
    ),
    hf(
        "Decision Transformer",
        "DecisionTransformerModel",
        Truth(
            kinds={
                "encoder.w?e.weight": EMBEDDING,
                "embed_timestep.weight": EMBEDDING,
                "predict_state.weight": READOUT,
                "predict_action.0.weight": READOUT,
                "predict_return.weight": READOUT,
            },
            ends=("*.c_proj.*",),
        ),
        settings={},
        state_dim=5,
        act_dim=3,
        hidden_size=width,
        n_layer=depth,
        n_head=heads,
        max_ep_len=16,
        inputs=lambda: {
            "states": normal(2, 6, 5),
            "actions": normal(2, 6, 3, seed=1),
            "rewards": normal(2, 6, 1, seed=2),
            "returns_to_go": normal(2, 6, 1, seed=3),
            "timesteps": torch.arange(6).repeat(2, 1),
            "attention_mask": torch.ones(2, 6),
        },
        special="three kinds of tokens, three readouts",
    ),
)

ENTRIES = (*TRANSFORMERS, *CONVOLUTIONS, *SOUND, *MIXED)
