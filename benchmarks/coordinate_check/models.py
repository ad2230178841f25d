"""Models of other people: Hugging Face's, from small configurations and random weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn

VOCABULARY, HEAD, TOKENS, EXAMPLES = 64, 16, 16, 8

Settings = Mapping[str, Any]


def times(factor: float) -> Callable[[int, int], int]:
    """Return a setting that grows with width."""
    return lambda width, depth: int(factor * width)


def layers(width: int, depth: int) -> int:
    """Return the depth, as a setting."""
    return depth


WIDTH, HEADS = times(1), times(1 / HEAD)
SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": times(2),
    "num_hidden_layers": layers,
    "num_attention_heads": HEADS,
}
WORDS = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
LANGUAGE = SIZES | WORDS | {"max_position_embeddings": 2 * TOKENS}
KEYS = {"num_key_value_heads": HEADS}
GPT = WORDS | {"n_embd": WIDTH, "n_layer": layers, "n_head": HEADS, "n_positions": 2 * TOKENS}
MIXTURE = LANGUAGE | KEYS | {"num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
IMAGE = SIZES | {"image_size": 16, "patch_size": 4, "num_labels": 10}
STAGES = {"num_channels": 3, "num_labels": 10, "num_stages": 2, "depths": lambda n, d: [d, d]}
T5 = WORDS | {
    "d_model": WIDTH,
    "d_ff": times(2),
    "d_kv": HEAD,
    "num_layers": layers,
    "num_heads": HEADS,
    "decoder_start_token_id": 0,
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A class of Hugging Face with its settings.

    Attributes:
        name: Name of the class.
        settings: Settings of its configuration; functions get width and depth.
        inputs: Kind of its inputs: "words", "images" or "pairs" of words.
        config: Name of the configuration's class; by default what the name says.
        check: Settings of its check.
    """

    name: str
    settings: Settings
    inputs: str = "words"
    config: str = ""
    check: Settings = field(default_factory=dict)

    def build(self, repeat: int) -> Callable[..., nn.Module]:
        """Return the builder; each repeat draws other weights."""
        kind = self.config or re.sub(r"(For|LMHead).*", "", self.name) + "Config"

        def built(width: int = 64, depth: int = 2) -> nn.Module:
            values = {k: v(width, depth) if callable(v) else v for k, v in self.settings.items()}
            torch.manual_seed(torch.initial_seed() % 1000 + 1000 * repeat)
            return getattr(transformers, self.name)(getattr(transformers, kind)(**values))

        return built

    def batch(self, repeat: int) -> Callable[[int, int], dict[str, Tensor]]:
        """Return the data of each seed and step."""

        def made(seed: int, step: int) -> dict[str, Tensor]:
            generator = torch.Generator().manual_seed(10_000 * repeat + 100 * seed + step)
            if self.inputs == "images":
                return {"pixel_values": torch.randn(EXAMPLES, 3, 16, 16, generator=generator)}
            words = torch.randint(2, VOCABULARY, (2, EXAMPLES, TOKENS), generator=generator)
            if self.inputs == "pairs":
                return {"input_ids": words[0], "decoder_input_ids": words[1]}
            return {"input_ids": words[0]}

        return made


def decoder(name: str, **settings: Any) -> Model:
    """Return a decoder with the usual names of settings."""
    return Model(name=name, settings=LANGUAGE | settings)


def vision(name: str, **settings: Any) -> Model:
    """Return a vision transformer."""
    return Model(name=name, settings=IMAGE | settings, inputs="images")


MODELS = {
    "Llama": decoder("LlamaForCausalLM", **KEYS),
    "Llama, grouped": decoder("LlamaForCausalLM", num_key_value_heads=times(1 / (2 * HEAD))),
    "Llama, tied": decoder("LlamaForCausalLM", **KEYS, tie_word_embeddings=True),
    "Mistral": decoder("MistralForCausalLM", **KEYS),
    "Qwen2": decoder("Qwen2ForCausalLM", **KEYS),
    "Qwen3": decoder("Qwen3ForCausalLM", **KEYS, head_dim=HEAD),
    "Phi": decoder("PhiForCausalLM", **KEYS),
    "Phi-3": decoder("Phi3ForCausalLM", **KEYS),
    "StableLM": decoder("StableLmForCausalLM", **KEYS),
    "OLMo": decoder("OlmoForCausalLM", **KEYS),
    "Granite": decoder("GraniteForCausalLM", **KEYS),
    "Cohere": decoder("CohereForCausalLM", **KEYS),
    "Starcoder2": decoder("Starcoder2ForCausalLM", **KEYS),
    "SmolLM3": decoder("SmolLM3ForCausalLM", **KEYS),
    "Ernie 4.5": decoder("Ernie4_5ForCausalLM", **KEYS, head_dim=HEAD),
    "Helium": decoder("HeliumForCausalLM", **KEYS, head_dim=HEAD),
    "GLM": decoder("GlmForCausalLM", **KEYS, head_dim=HEAD),
    "Gemma": decoder("GemmaForCausalLM", **KEYS, head_dim=HEAD, tie_word_embeddings=False),
    "Nemotron": decoder("NemotronForCausalLM", **KEYS),
    "Persimmon": decoder("PersimmonForCausalLM"),
    "GPT-NeoX": decoder("GPTNeoXForCausalLM"),
    "GPT-2": Model(name="GPT2LMHeadModel", settings=GPT | {"pad_token_id": None}),
    "GPT-J": Model(name="GPTJForCausalLM", settings=GPT | {"rotary_dim": 8}),
    "CodeGen": Model(
        name="CodeGenForCausalLM", settings=GPT | {"rotary_dim": 8, "n_head": lambda n, d: n // 16}
    ),
    "GPTBigCode": Model(name="GPTBigCodeForCausalLM", settings=GPT | {"multi_query": False}),
    "GPT-Neo": decoder(
        "GPTNeoForCausalLM",
        num_layers=layers,
        num_heads=HEADS,
        attention_types=lambda n, d: [[["global"], d]],
    ),
    "Falcon": decoder("FalconForCausalLM", multi_query=False),
    "Bloom": Model(
        name="BloomForCausalLM",
        settings=WORDS | {"hidden_size": WIDTH, "n_layer": layers, "n_head": HEADS},
    ),
    "MPT": Model(
        name="MptForCausalLM",
        settings=WORDS
        | {"d_model": WIDTH, "n_layers": layers, "n_heads": HEADS, "max_seq_len": 32},
    ),
    "OPT": decoder("OPTForCausalLM", ffn_dim=times(2), word_embed_proj_dim=WIDTH),
    "Mixtral": Model(name="MixtralForCausalLM", settings=MIXTURE | {"num_local_experts": 4}),
    "Qwen2-MoE": Model(
        name="Qwen2MoeForCausalLM",
        settings=MIXTURE | {"num_experts": 4, "shared_expert_intermediate_size": WIDTH},
        check={"roles": {"*.shared_expert_gate.weight": "router"}},
    ),
    "Qwen3-MoE": Model(
        name="Qwen3MoeForCausalLM", settings=MIXTURE | {"num_experts": 4, "head_dim": HEAD}
    ),
    "OLMoE": Model(name="OlmoeForCausalLM", settings=MIXTURE | {"num_experts": 4}),
    "Mamba": Model(
        name="MambaForCausalLM",
        settings=WORDS
        | {"hidden_size": WIDTH, "num_hidden_layers": layers, "time_step_rank": times(1 / 16)},
    ),
    "RWKV": Model(
        name="RwkvForCausalLM",
        settings=WORDS
        | {
            "hidden_size": WIDTH,
            "attention_hidden_size": WIDTH,
            "intermediate_size": times(2),
            "num_hidden_layers": layers,
            "context_length": 32,
        },
    ),
    "BERT": decoder("BertForMaskedLM"),
    "RoBERTa": decoder("RobertaForMaskedLM", max_position_embeddings=40),
    "ELECTRA": decoder("ElectraForMaskedLM", embedding_size=WIDTH),
    "DistilBERT": Model(
        name="DistilBertForMaskedLM",
        settings=WORDS
        | {"dim": WIDTH, "hidden_dim": times(2), "n_layers": layers, "n_heads": HEADS},
    ),
    "ModernBERT": decoder("ModernBertForMaskedLM", cls_token_id=0, sep_token_id=0),
    "MPNet": decoder("MPNetForMaskedLM", max_position_embeddings=40),
    "ViT": vision("ViTForImageClassification"),
    "DeiT": vision("DeiTForImageClassification"),
    "BEiT": vision("BeitForImageClassification"),
    "DINOv2": vision("Dinov2ForImageClassification", mlp_ratio=2),
    "ViT-MSN": vision("ViTMSNForImageClassification"),
    "I-JEPA": vision("IJepaForImageClassification"),
    "ConvNeXt": Model(
        name="ConvNextForImageClassification",
        settings=STAGES | {"hidden_sizes": lambda n, d: [n, 2 * n], "patch_size": 2},
        inputs="images",
    ),
    "ResNet": Model(
        name="ResNetForImageClassification",
        settings=STAGES
        | {"hidden_sizes": lambda n, d: [n, 2 * n], "embedding_size": WIDTH, "layer_type": "basic"},
        inputs="images",
    ),
    "Swin": Model(
        name="SwinForImageClassification",
        settings=STAGES
        | {
            "embed_dim": WIDTH,
            "num_heads": lambda n, d: [n // 16, n // 8],
            "image_size": 16,
            "patch_size": 2,
            "window_size": 4,
        },
        inputs="images",
    ),
    "T5": Model(name="T5ForConditionalGeneration", settings=T5, inputs="pairs"),
    "T5, gated": Model(
        name="T5ForConditionalGeneration",
        settings=T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        inputs="pairs",
    ),
}
"""The models, by name."""
