"""Encoders and encoder-decoders of Hugging Face for text."""

from __future__ import annotations

import torch
from torch import Tensor

from .entry import tokens
from .hugging_face import (
    HEAD,
    HOOKS,
    LANGUAGE,
    POST_NORM,
    TEXT,
    depth,
    heads,
    hf,
    pair,
    scaled_embedding,
    twice,
    unmasked,
    width,
)
from .truth import (
    BOTTLENECK,
    CARRIES,
    EMBEDDING,
    EXPERT,
    READOUT,
    ROUTER,
    TIED,
    VECTOR,
    Kind,
    Truth,
)

SHORT = LANGUAGE | {"max_position_embeddings": 32, "type_vocab_size": 2}
BERT = {
    "*.word_embeddings.weight": TIED,
    "*.position_embeddings.weight": EMBEDDING,
    "*.token_type_embeddings.weight": EMBEDDING,
}
PREDICTIONS = {"cls.predictions.transform.LayerNorm.*": CARRIES}
ROBERTA = {"lm_head.layer_norm.*": CARRIES}
PRE_NORM_BERT = ("*.attention.output.dense.*", "layers", "*.layer.?.output.dense.*")
LOOP = {"refused": {"depth": "loops"}}


def encoder(
    head: dict[str, Kind], *ends: str, without: tuple[str, ...] = (), **kinds: Kind
) -> Truth:
    """Return the truth of an encoder with BERT's embeddings and a tied head."""
    own = {key: kind for key, kind in BERT.items() if key not in without}
    return Truth(kinds={**head, **kinds, **own}, ends=ends)


POSITION, TYPE = "*.position_embeddings.weight", "*.token_type_embeddings.weight"

ENCODERS = (
    hf(
        "BERT",
        "BertForMaskedLM",
        encoder(PREDICTIONS),
        settings=SHORT,
        special="a norm after each residual add, tied",
        fields=POST_NORM,
    ),
    hf(
        "BERT, classifier",
        "BertForSequenceClassification",
        Truth(kinds={**BERT, "classifier.weight": READOUT}),
        settings=SHORT,
        special="a pooler on the first token",
        fields=POST_NORM,
    ),
    hf("RoBERTa", "RobertaForMaskedLM", encoder(ROBERTA), settings=SHORT, fields=POST_NORM),
    hf(
        "RoBERTa, pre-norm",
        "RobertaPreLayerNormForMaskedLM",
        encoder(ROBERTA, "*.attention.output.dense.*", "*.layer.?.output.dense.*"),
        settings=SHORT,
    ),
    hf(
        "XLM-RoBERTa-XL",
        "XLMRobertaXLForMaskedLM",
        encoder(
            {"lm_head.layer_norm.*": CARRIES},
            "*.attention.output.dense.*",
            "*.layer.?.output.dense.*",
        ),
        settings=SHORT,
        special="pre-norm",
    ),
    hf(
        "Megatron-BERT",
        "MegatronBertForMaskedLM",
        encoder(PREDICTIONS, "*.attention.output.dense.*", "*.layer.?.output.dense.*"),
        settings=SHORT,
        special="pre-norm",
    ),
    hf(
        "DistilBERT",
        "DistilBertForMaskedLM",
        encoder({"vocab_layer_norm.*": CARRIES}, without=(TYPE,)),
        settings=TEXT,
        dim=width,
        hidden_dim=twice,
        n_layers=depth,
        n_heads=heads,
        max_position_embeddings=32,
        fields=POST_NORM,
    ),
    hf(
        "ALBERT",
        "AlbertForMaskedLM",
        Truth(kinds={"predictions.dense.weight": BOTTLENECK}),
        settings=SHORT,
        embedding_size=24,
        special="one layer in a loop; an embedding of fixed size",
        fields=LOOP,
    ),
    hf(
        "ELECTRA",
        "ElectraForMaskedLM",
        Truth(kinds={"generator_predictions.dense.weight": BOTTLENECK}),
        settings=SHORT,
        embedding_size=24,
        special="an embedding of fixed size",
        fields=POST_NORM,
    ),
    hf(
        "DeBERTa",
        "DebertaForMaskedLM",
        encoder(PREDICTIONS, without=(POSITION, TYPE), **{"*.rel_embeddings.weight": EMBEDDING}),
        settings=SHORT | {"type_vocab_size": 0},
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        special="attention to relative positions",
        fields=POST_NORM,
    ),
    hf(
        "DeBERTa v2",
        "DebertaV2ForMaskedLM",
        encoder(PREDICTIONS, without=(POSITION, TYPE), **{"*.rel_embeddings.weight": EMBEDDING}),
        settings=SHORT | {"type_vocab_size": 0},
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_biased_input=False,
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        conv_kernel_size=3,
        special="relative positions in buckets; a convolution beside the first layer",
        fields=POST_NORM,
    ),
    hf(
        "BigBird",
        "BigBirdForMaskedLM",
        encoder(PREDICTIONS),
        settings=SHORT,
        attention_type="original_full",
        fields=POST_NORM,
    ),
    hf(
        "Longformer",
        "LongformerForMaskedLM",
        encoder(ROBERTA),
        settings=SHORT,
        attention_window=4,
        special="attention in windows",
        fields=POST_NORM,
    ),
    hf(
        "FNet",
        "FNetForMaskedLM",
        encoder(PREDICTIONS),
        settings=SHORT,
        inputs=unmasked,
        special="Fourier transforms along the width instead of attention",
        fields=POST_NORM,
    ),
    hf(
        "RoFormer",
        "RoFormerForMaskedLM",
        encoder(PREDICTIONS, without=(POSITION,)),
        config="RoFormerConfig",
        settings=SHORT,
        embedding_size=width,
        special="rotary positions",
        fields=POST_NORM,
    ),
    hf(
        "Nystromformer",
        "NystromformerForMaskedLM",
        encoder(PREDICTIONS),
        config="NystromformerConfig",
        inputs=unmasked,
        settings=SHORT,
        segment_means_seq_len=12,
        num_landmarks=4,
        special="landmarks; an iterated inverse; a depthwise convolution on values",
        fields=POST_NORM,
    ),
    hf(
        "ConvBERT",
        "ConvBertForMaskedLM",
        Truth(
            kinds={
                "*.word_embeddings.weight": TIED,
                "*.position_embeddings.weight": EMBEDDING,
                "*.token_type_embeddings.weight": EMBEDDING,
                "generator_predictions.LayerNorm.*": CARRIES,
            }
        ),
        settings=SHORT,
        embedding_size=width,
        head_ratio=1,
        special="kernels of convolutions made from the input",
        fields=POST_NORM,
    ),
    hf(
        "SqueezeBERT",
        "SqueezeBertForMaskedLM",
        encoder(PREDICTIONS),
        settings=SHORT,
        embedding_size=width,
        special="grouped convolutions instead of linear layers",
        fields=POST_NORM,
    ),
    hf(
        "MPNet",
        "MPNetForMaskedLM",
        Truth(
            kinds={
                "*.word_embeddings.weight": TIED,
                "*.position_embeddings.weight": EMBEDDING,
                "*.relative_attention_bias.weight": EMBEDDING,
                "lm_head.layer_norm.*": CARRIES,
            }
        ),
        settings=SHORT,
        special="a bias of attention by distance",
        fields=POST_NORM,
    ),
    hf(
        "I-BERT",
        "IBertForMaskedLM",
        encoder(ROBERTA),
        settings=SHORT,
        fields=POST_NORM,
        special="quantisers, switched off",
    ),
    hf(
        "ESM",
        "EsmForMaskedLM",
        Truth(
            kinds={
                "*.word_embeddings.weight": TIED,
                "lm_head.layer_norm.*": CARRIES,
                "esm.contact_head.*": READOUT,
            },
            ends=("*.attention.output.dense.*", "*.layer.?.output.dense.*"),
        ),
        settings=SHORT,
        position_embedding_type="rotary",
        mask_token_id=3,
        special="pre-norm",
    ),
    hf(
        "ModernBERT",
        "ModernBertForMaskedLM",
        Truth(kinds={"*.tok_embeddings.weight": TIED, "head.norm.*": CARRIES}, ends=("*.Wo.*",)),
        local_attention=4,
        global_attn_every_n_layers=2,
        special="local and global attention",
    ),
    hf(
        "NomicBERT",
        "NomicBertForMaskedLM",
        encoder({"cls.predictions.transform.layer_norm.*": CARRIES}, without=(POSITION,)),
        settings=SHORT,
        fields=POST_NORM,
    ),
    hf(
        "EuroBERT",
        "EuroBertForMaskedLM",
        Truth(
            kinds={"*.embed_tokens.weight": EMBEDDING, "lm_head.weight": READOUT},
            ends=("*.o_proj.*", "*.down_proj.*"),
        ),
        num_key_value_heads=heads,
    ),
    hf(
        "XLNet",
        "XLNetLMHeadModel",
        Truth(
            kinds={
                "*.word_embedding.weight": TIED,
                "*.mask_emb": VECTOR,
                "*.seg_embed": VECTOR,
                "*.layer.1.ff.layer_norm.*": CARRIES,
            }
        ),
        settings=TEXT,
        d_model=width,
        n_layer=depth,
        n_head=heads,
        d_inner=twice,
        inputs=unmasked,
        special="weights of shape (width, heads, head size); relative positions",
        fields=POST_NORM,
    ),
)

T5_SIZES = TEXT | {
    "d_model": width,
    "d_ff": twice,
    "num_layers": depth,
    "num_heads": heads,
    "d_kv": HEAD,
    "decoder_start_token_id": 0,
}
T5_ENDS = ("*Attention.o.weight", "*.wo.weight")
T5 = Truth(
    kinds={
        "shared.weight": TIED,
        "*.relative_attention_bias.weight": EMBEDDING,
        "decoder.final_layer_norm.weight": VECTOR.times(-0.5),
    },
    ends=T5_ENDS,
)
T5_UNSCALED = Truth(
    kinds={
        "shared.weight": TIED,
        "*.relative_attention_bias.weight": EMBEDDING,
        "decoder.final_layer_norm.weight": CARRIES,
    },
    ends=T5_ENDS,
)
BART_SIZES = TEXT | {
    "d_model": width,
    "encoder_layers": depth,
    "decoder_layers": depth,
    "encoder_attention_heads": heads,
    "decoder_attention_heads": heads,
    "encoder_ffn_dim": twice,
    "decoder_ffn_dim": twice,
    "max_position_embeddings": 32,
    "decoder_start_token_id": 0,
}
BART = {"*shared.weight": TIED, "*.embed_positions.weight": EMBEDDING}
LAST = {"*decoder.layers.1.final_layer_norm.*": CARRIES}
FINAL = {"*decoder.layer_norm.*": CARRIES}


def half(norm: str, truth: Truth) -> tuple[Truth, ...]:
    """Return the truths of a translator that multiplies its embedding by sqrt(width)."""
    return scaled_embedding(truth, "*shared.weight", norm, "*.embed_tokens")


BART_ENDS = ("*.out_proj.*", "*.fc2.*")


def long_pair() -> dict[str, Tensor]:
    """Return tokens of a length that attention in windows divides."""
    ids = tokens(2, 16)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "decoder_input_ids": tokens(2, 7, seed=1),
    }


TRANSLATORS = (
    hf(
        "T5",
        "T5ForConditionalGeneration",
        T5,
        settings=T5_SIZES,
        inputs=pair,
        tie_word_embeddings=True,
        special="1/sqrt(width) before the tied head; no factor on attention scores",
        fields={"proved": True},
    ),
    hf(
        "T5 v1.1",
        "T5ForConditionalGeneration",
        T5_UNSCALED,
        settings=T5_SIZES,
        inputs=pair,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        special="gated; no factor before the tied head",
    ),
    hf(
        "UMT5",
        "UMT5ForConditionalGeneration",
        T5,
        settings=T5_SIZES,
        inputs=pair,
    ),
    hf(
        "LongT5",
        "LongT5ForConditionalGeneration",
        T5.but({"*.global_relative_attention_bias.weight": EMBEDDING}),
        settings=T5_SIZES,
        inputs=long_pair,
        local_radius=3,
        global_block_size=4,
        encoder_attention_type="transient-global",
        tie_word_embeddings=True,
        special="local and global attention",
    ),
    hf(
        "Switch Transformers",
        "SwitchTransformersForConditionalGeneration",
        T5.but({"*.router.classifier.weight": ROUTER, "*.experts.*": EXPERT}),
        settings=T5_SIZES,
        inputs=pair,
        num_experts=4,
        num_sparse_encoder_layers=lambda n, d: d // 2,
        num_sparse_decoder_layers=lambda n, d: d // 2,
        num_decoder_layers=depth,
        tie_word_embeddings=True,
        special="one expert a token",
    ),
    hf(
        "BART",
        "BartForConditionalGeneration",
        Truth(kinds={**BART, **LAST}),
        settings=BART_SIZES,
        inputs=pair,
        special="the last norm of the decoder carries the logits' 1/n",
        fields=POST_NORM,
    ),
    hf(
        "mBART",
        "MBartForConditionalGeneration",
        Truth(kinds={**BART, **FINAL}, ends=BART_ENDS),
        settings=BART_SIZES,
        inputs=pair,
        special="pre-norm",
    ),
    hf(
        "Pegasus",
        "PegasusForConditionalGeneration",
        half(
            "*decoder.layer_norm.*",
            Truth(kinds={"*.embed_positions.weight": EMBEDDING}, ends=BART_ENDS),
        ),
        settings=BART_SIZES,
        fields=HOOKS,
        inputs=pair,
        scale_embedding=True,
        special="the embedding times sqrt(width), tied",
    ),
    hf(
        "Marian",
        "MarianMTModel",
        half(
            "*decoder.layers.1.final_layer_norm.*",
            Truth(kinds={"*.embed_positions.weight": EMBEDDING}),
        ),
        config="MarianConfig",
        settings=BART_SIZES,
        inputs=pair,
        scale_embedding=True,
        special="the embedding times sqrt(width), tied",
        fields=POST_NORM | HOOKS,
    ),
    hf(
        "M2M-100",
        "M2M100ForConditionalGeneration",
        half("*decoder.layer_norm.*", Truth(ends=BART_ENDS)),
        settings=BART_SIZES,
        fields=HOOKS,
        inputs=pair,
        scale_embedding=True,
    ),
    hf(
        "Blenderbot",
        "BlenderbotForConditionalGeneration",
        Truth(kinds={**BART, **FINAL}, ends=BART_ENDS),
        settings=BART_SIZES,
        inputs=pair,
    ),
    hf(
        "NLLB-MoE",
        "NllbMoeForConditionalGeneration",
        half(
            "*decoder.layer_norm.*",
            Truth(kinds={"*.router.classifier.weight": ROUTER}, ends=BART_ENDS),
        ),
        settings=BART_SIZES,
        fields=HOOKS,
        inputs=pair,
        num_experts=4,
        encoder_sparse_step=2,
        decoder_sparse_step=2,
        scale_embedding=True,
        special="experts in every second layer",
    ),
    hf(
        "ProphetNet",
        "ProphetNetForConditionalGeneration",
        Truth(
            kinds={
                "*word_embeddings.weight": TIED,
                "*.position_embeddings.weight": EMBEDDING,
                "*.ngram_embeddings.weight": EMBEDDING,
                "*decoder.layers.1.feed_forward_layer_norm.*": CARRIES,
            }
        ),
        settings=TEXT,
        hidden_size=width,
        num_encoder_layers=depth,
        num_decoder_layers=depth,
        num_encoder_attention_heads=heads,
        num_decoder_attention_heads=heads,
        encoder_ffn_dim=twice,
        decoder_ffn_dim=twice,
        max_position_embeddings=32,
        inputs=pair,
        special="several futures at once",
        fields=POST_NORM,
    ),
)

ENTRIES = (*ENCODERS, *TRANSLATORS)
