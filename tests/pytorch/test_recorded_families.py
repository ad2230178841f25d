"""Programs of models of other people, which nobody wrote to be recorded."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as tf
from torch import nn

from mutransfer.pytorch import _record
from mutransfer.pytorch._record import record_program
from mutransfer.reading import Program

WIDTH, LAYERS = 32, 2
IDS = torch.arange(16).view(2, 8)
MASK = torch.ones(2, 8, dtype=torch.long)
MASK[0, 6:] = 0
MASKED = {"input_ids": IDS, "attention_mask": MASK}
BOTH = {"input_ids": IDS, "decoder_input_ids": IDS}

Family = tuple[Callable[[], nn.Module], Any]


def text(config: Any, model: Any, **settings: Any) -> Callable[[], nn.Module]:
    """A language model of the usual sizes."""
    sizes = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "vocab_size": 64}
    layers = {"num_hidden_layers": LAYERS, "num_attention_heads": 2}
    return lambda: model(config(**sizes, **layers, bos_token_id=1, eos_token_id=2, **settings))


def rwkv() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "attention_hidden_size": WIDTH, "intermediate_size": WIDTH}
    return tf.RwkvForCausalLM(tf.RwkvConfig(num_hidden_layers=LAYERS, vocab_size=64, **sizes))


def bart(**settings: Any) -> nn.Module:
    layers = {"encoder_layers": LAYERS, "decoder_layers": LAYERS}
    sizes = {"d_model": WIDTH, "encoder_ffn_dim": WIDTH, "decoder_ffn_dim": WIDTH}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 64}
    config = tf.BartConfig(max_position_embeddings=16, **layers, **sizes, **heads, **settings)
    return tf.BartForConditionalGeneration(config)


def mixtral() -> nn.Module:
    experts = {"num_local_experts": 2, "num_key_value_heads": 2}
    return text(tf.MixtralConfig, tf.MixtralForCausalLM, **experts)()


def swin() -> nn.Module:
    sizes = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "window_size": 4}
    return tf.Swinv2ForImageClassification(
        tf.Swinv2Config(depths=[1, 1], num_heads=[1, 2], **sizes)
    )


def reformer() -> nn.Module:
    sizes = {"hidden_size": WIDTH, "vocab_size": 64, "feed_forward_size": WIDTH}
    heads = {"num_attention_heads": 2, "attention_head_size": 16, "local_attn_chunk_length": 4}
    places = {"axial_pos_shape": (2, 4), "axial_pos_embds_dim": (16, 16), "is_decoder": True}
    config = tf.ReformerConfig(attn_layers=["local", "local"], **sizes, **heads, **places)
    return tf.ReformerModelWithLMHead(config)


FAMILIES: dict[str, Family] = {
    "Llama": (text(tf.LlamaConfig, tf.LlamaForCausalLM), None),
    "Llama, mask": (text(tf.LlamaConfig, tf.LlamaForCausalLM), MASKED),
    "BERT, mask": (text(tf.BertConfig, tf.BertForMaskedLM), MASKED),
    "DeBERTa": (text(tf.DebertaV2Config, tf.DebertaV2ForMaskedLM), None),
    "Mixtral": (mixtral, None),
    "BART": (bart, None),
    "BART, eager": (lambda: bart(attn_implementation="eager"), BOTH),
    "RWKV": (rwkv, None),
    "Reformer": (reformer, None),
    "Swin": (swin, None),
}
BARE = {"Reformer": {"lm_head.bias"}}
"""Parameters that the forward pass does not use."""


def names(program: Program) -> list[str]:
    return [operation.name for operation in program.operations]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_used_and_the_program_is_the_same_again(family: str) -> None:
    build, inputs = FAMILIES[family]
    torch.manual_seed(0)
    model = build()
    program = record_program(model, inputs)
    unused = {name for name, _ in model.named_parameters()} - set(program.parameters)
    assert unused == BARE.get(family, set())
    torch.manual_seed(1)
    assert record_program(model, inputs) == program
    assert not any("flash" in name or "fused" in name for name in names(program))


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_alone_give_the_same_operations(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, inputs = FAMILIES[family]
    model = build()
    expected = record_program(model, inputs)
    monkeypatch.setattr(_record, "_LARGEST_REAL", 0)
    assert names(record_program(model, inputs)) == names(expected)
    assert names(record_program(model.to("meta"), inputs)) == names(expected)


def test_a_model_of_seventy_billion_parameters_is_recorded_without_memory() -> None:
    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "vocab_size": 256}
    heads = {"num_attention_heads": 64, "num_key_value_heads": 64, "num_hidden_layers": 4}
    with torch.device("meta"):
        model = tf.LlamaForCausalLM(tf.LlamaConfig(**sizes, **heads))
    small = text(tf.LlamaConfig, tf.LlamaForCausalLM, num_key_value_heads=2)()
    per_layer = Counter(names(record_program(small)))["mm"] // LAYERS
    program = record_program(model)
    assert Counter(names(program))["mm"] // 4 == per_layer
    assert len(program.parameters) == len(list(model.parameters()))
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize(("rows", "first"), [(2, _record._Way), (10**7, _record._hollow)])
def test_much_work_is_done_on_shapes_alone(rows: int, first: Any) -> None:
    model, batch = nn.Linear(256, 4096), torch.ones(1).expand(rows, 256)
    assert _record._ways(model, [batch])[0] is first
