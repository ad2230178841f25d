"""Architectures of Hugging Face, built from small configurations.

They are planned without a hint, every tensor with the role it should have. The plain form trains as
explicit multipliers do where the papers put them: residual branches times 1/depth (CompleteP,
2505.01618, Table 1), logits times 1/fan_in (Tensor Programs V, 2203.03466, Table 8), as hooks on
modules, with every tensor at the scale, rate, eps and decay of Table 8's form.
"""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import mutransfer as mt
from mutransfer.rules import Place, Role
from tests.models.hugging_face import (
    HEAD,
    LANGUAGE,
    VISION,
    VOCABULARY,
    Make,
    built,
    depth,
    heads,
    twice,
    width,
)
from tests.peers.table8 import assert_starts_at_table8, difference, groups8


@dataclass(frozen=True)
class Architecture:
    """A family of sizes.

    Attributes:
        make: The model at a width and depth.
        branches: Number of residual branches of a layer.
        roles: Roles of some of its tensors, by pattern.
        deep: Whether its depth can grow.
        hooks: Whether multipliers need hooks.
    """

    make: Make
    branches: int
    roles: dict[str, Role]
    deep: bool = True
    hooks: bool = False


BLOCK = {
    "*q_proj.weight": Role.HIDDEN,
    "*o_proj.weight": Role.HIDDEN,
    "*down_proj.weight": Role.HIDDEN,
    "*.embed_tokens.weight": Role.EMBEDDING,
}
SHARED = BLOCK | {"*k_proj.weight": Role.KEY_VALUE, "*v_proj.weight": Role.KEY_VALUE}
OWN = BLOCK | {"*k_proj.weight": Role.HIDDEN, "*v_proj.weight": Role.HIDDEN}
UNTIED, TIED = {"lm_head.weight": Role.READOUT}, {"*.embed_tokens.weight": Role.TIED}
BERT = {
    "*.word_embeddings.weight": Role.TIED,
    "*.query.weight": Role.HIDDEN,
    "*.position_embeddings.weight": Role.EMBEDDING,
}
GPT2 = {
    "*.wte.weight": Role.TIED,
    "*.wpe.weight": Role.EMBEDDING,
    "*.c_attn.weight": Role.HIDDEN,
    "*.mlp.c_proj.weight": Role.HIDDEN,
}
VIT = {"*.patch_embeddings.projection.weight": Role.INPUT, "classifier.weight": Role.READOUT}
T5 = {"shared.weight": Role.TIED, "*Attention.?.weight": Role.HIDDEN, "*.wo.weight": Role.HIDDEN}
MIXTRAL = {
    "*.gate.weight": Role.ROUTER,
    "*.experts.gate_up_proj": Role.EXPERT,
    "*.experts.down_proj": Role.EXPERT,
}
NEOX = {
    "*.query_key_value.weight": Role.HIDDEN,
    "*.embed_in.weight": Role.EMBEDDING,
    "lm_head.weight": Role.READOUT,
}
CONVNEXT = {
    "*.dwconv.weight": Role.DEPTHWISE,
    "*.pwconv?.weight": Role.HIDDEN,
    "classifier.weight": Role.READOUT,
}
MAMBA = {
    "*_proj.weight": Role.HIDDEN,
    "*.A_log": Role.VECTOR,
    "*.conv1d.weight": Role.DEPTHWISE,
}
HEAD_GAINS = {"*.q_norm.weight": Role.HEAD_GAIN, "*.k_norm.weight": Role.HEAD_GAIN}

GEMMA = LANGUAGE | {"num_key_value_heads": heads, "head_dim": HEAD}
DINO = {key: value for key, value in VISION.items() if key != "intermediate_size"}

ARCHITECTURES = {
    "Llama": Architecture(built("LlamaForCausalLM", **LANGUAGE), 2, OWN | UNTIED),
    "Llama, tied": Architecture(
        built("LlamaForCausalLM", **LANGUAGE, tie_word_embeddings=True), 2, OWN | TIED
    ),
    "Llama, grouped queries": Architecture(
        built("LlamaForCausalLM", **LANGUAGE, num_key_value_heads=2), 2, SHARED | UNTIED
    ),
    "Mistral": Architecture(
        built("MistralForCausalLM", **LANGUAGE, num_key_value_heads=heads), 2, OWN | UNTIED
    ),
    "Qwen2": Architecture(
        built("Qwen2ForCausalLM", **LANGUAGE, num_key_value_heads=2), 2, SHARED | UNTIED
    ),
    "Qwen3": Architecture(
        built("Qwen3ForCausalLM", **LANGUAGE, num_key_value_heads=2, head_dim=HEAD),
        2,
        SHARED | UNTIED | HEAD_GAINS,
    ),
    "Phi-3": Architecture(
        built("Phi3ForCausalLM", **LANGUAGE), 2, {"*.qkv_proj.weight": Role.HIDDEN} | UNTIED
    ),
    "OLMo 2": Architecture(built("Olmo2ForCausalLM", **LANGUAGE), 2, OWN | UNTIED),
    "GPT-2": Architecture(
        built(
            "GPT2LMHeadModel",
            n_embd=width,
            n_layer=depth,
            n_head=heads,
            vocab_size=VOCABULARY,
            n_positions=32,
            bos_token_id=0,
            eos_token_id=0,
        ),
        2,
        GPT2,
    ),
    "GPT-NeoX": Architecture(built("GPTNeoXForCausalLM", **LANGUAGE), 1, NEOX),
    "OPT": Architecture(
        built(
            "OPTForCausalLM",
            hidden_size=width,
            ffn_dim=twice,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            word_embed_proj_dim=width,
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
        ),
        2,
        {"*.embed_tokens.weight": Role.TIED, "*.fc2.weight": Role.HIDDEN},
    ),
    "BLOOM": Architecture(
        built(
            "BloomForCausalLM",
            hidden_size=width,
            n_layer=depth,
            n_head=heads,
            vocab_size=VOCABULARY,
        ),
        2,
        {"*.word_embeddings.weight": Role.TIED, "*.query_key_value.weight": Role.HIDDEN},
    ),
    "Mixtral": Architecture(
        built("MixtralForCausalLM", **LANGUAGE, num_key_value_heads=heads, num_local_experts=4),
        2,
        MIXTRAL | UNTIED,
    ),
    "BERT": Architecture(built("BertForMaskedLM", **LANGUAGE), 2, BERT, deep=False),
    "Gemma": Architecture(built("GemmaForCausalLM", **GEMMA), 2, OWN | TIED, hooks=True),
    "Gemma 2": Architecture(built("Gemma2ForCausalLM", **GEMMA), 2, OWN | TIED, hooks=True),
    "Gemma 3": Architecture(
        built("Gemma3ForCausalLM", config="Gemma3TextConfig", **GEMMA), 2, OWN | TIED, hooks=True
    ),
    "T5": Architecture(
        built(
            "T5ForConditionalGeneration",
            d_model=width,
            d_ff=twice,
            num_layers=depth,
            num_heads=heads,
            d_kv=HEAD,
            vocab_size=VOCABULARY,
            decoder_start_token_id=0,
        ),
        5,
        T5,
    ),
    "ViT": Architecture(built("ViTForImageClassification", **VISION), 2, VIT),
    "DINOv2": Architecture(
        built("Dinov2ForImageClassification", **DINO),
        2,
        {"classifier.weight": Role.READOUT, "*.projection.weight": Role.INPUT},
    ),
    "CLIP vision": Architecture(
        built(
            "CLIPVisionModelWithProjection",
            config="CLIPVisionConfig",
            **VISION,
            projection_dim=12,
        ),
        2,
        {"visual_projection.weight": Role.READOUT},
    ),
    "Mamba": Architecture(
        built(
            "MambaForCausalLM",
            hidden_size=width,
            num_hidden_layers=depth,
            vocab_size=VOCABULARY,
            state_size=4,
        ),
        1,
        MAMBA | {"*.embeddings.weight": Role.TIED},
    ),
    "Mamba 2": Architecture(
        built(
            "Mamba2ForCausalLM",
            hidden_size=width,
            num_hidden_layers=depth,
            vocab_size=VOCABULARY,
            state_size=4,
            num_heads=lambda n, d: 2 * n // HEAD,
            head_dim=HEAD,
            n_groups=1,
            chunk_size=8,
        ),
        1,
        MAMBA | UNTIED,
    ),
    "ResNet": Architecture(
        built(
            "ResNetForImageClassification",
            embedding_size=width,
            hidden_sizes=lambda n, d: [n, 2 * n],
            depths=[2, 2],
            num_labels=10,
        ),
        2,
        {"*.embedder.embedder.convolution.weight": Role.INPUT, "classifier.1.weight": Role.READOUT},
        deep=False,
    ),
    "ConvNeXt": Architecture(
        built(
            "ConvNextForImageClassification",
            hidden_sizes=lambda n, d: [n, 2 * n],
            depths=lambda n, d: [d, d],
            num_stages=2,
            image_size=32,
            num_labels=10,
        ),
        2,
        CONVNEXT,
    ),
}


@contextmanager
def quiet() -> Iterator[None]:
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(level)


def planned(name: str, wider: int, deeper: int) -> mt.Plan:
    make = ARCHITECTURES[name].make
    with quiet():
        return mt.plan(make(32 * wider, 2 * deeper), make(32, 2), hooks=ARCHITECTURES[name].hooks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planned_in_width_and_depth_without_a_hint(name: str) -> None:
    architecture = ARCHITECTURES[name]
    deeper, branches = 2 if architecture.deep else 1, 2 * architecture.branches
    plan = planned(name, 3, deeper)
    assert plan.depth == (branches, deeper * branches)
    assert plan.rule == ("completep" if architecture.deep else "mup")
    for pattern, role in architecture.roles.items():
        roles = {t.role for t in plan.tensors.values() if fnmatchcase(t.name, pattern)}
        assert roles == {role}, pattern
    assert plan.forward or any(tensor.place == Place.BRANCH_END for tensor in plan.tensors.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["BERT"])
def test_depth_after_post_norm_is_refused(name: str) -> None:
    with pytest.raises(mt.MutransferError, match="a normalisation follows the residual joins"):
        planned(name, 1, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Gemma 2", "Gemma 3"])
def test_a_gain_that_counts_from_one_carries_no_multiplier(name: str) -> None:
    """Gemma's norms multiply by 1 + weight: a hook carries the branch's multiplier."""
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(32, 4), make(32, 2)
    with pytest.raises(
        mt.MutransferError,
        match=r"residual branch 1 of .* does not end in learned tensors .*hooks=True",
    ):
        mt.plan(model, base)
    plan = mt.plan(model, base, hooks=True)
    ends = ("post_attention_layernorm", "post_feedforward_layernorm")
    assert plan.forward.keys() == {f"model.layers.{i}.{end}" for i in range(4) for end in ends}
    assert {hook.factor for hook in plan.forward.values()} == {0.5}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Llama, grouped queries", "GPT-2", "Mixtral"])
def test_a_planned_architecture_trains(name: str) -> None:
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(64, 4), make(32, 2)
    plan = mt.plan(model, base)
    plan.initialize(model)
    optimizer = torch.optim.AdamW(plan.param_groups(model, lr=1e-2))
    tokens = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(12):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


STEPS, WIDER, DEEPER = 6, 3, 2
LR, EPS, DECAY = 5e-3, 1e-4, 0.1
TOKENS = torch.randint(VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TEXT = {"input_ids": TOKENS, "labels": TOKENS}
SANDWICH = ("*.post_attention_layernorm", "*.post_feedforward_layernorm")
# Patterns of the modules that end a branch, and data.
CASES = {
    "Llama": (("*.o_proj", "*.down_proj"), TEXT),
    "Llama, tied": (("*.o_proj", "*.down_proj"), TEXT),
    "Llama, grouped queries": (("*.o_proj", "*.down_proj"), TEXT),
    "Qwen3": (("*.o_proj", "*.down_proj"), TEXT),
    "GPT-2": (("*.c_proj",), TEXT),
    "GPT-NeoX": (("*.attention.dense", "*.dense_4h_to_h"), TEXT),
    "OLMo 2": (("*.post_attention_layernorm", "*.post_feedforward_layernorm"), TEXT),
    "Mixtral": (("*.o_proj", "*.mlp"), TEXT),
    "Gemma": (("*.o_proj", "*.down_proj"), TEXT),
    "Gemma 2": (SANDWICH, TEXT),
    "Gemma 3": (SANDWICH, TEXT),
    "T5": (("*Attention.o", "*.wo"), TEXT),
    "Mamba": (("*.out_proj",), TEXT),
    "Mamba 2": (("*.out_proj",), TEXT),
    "ViT": (("*.o_proj", "*.fc2"), {"pixel_values": IMAGES, "labels": torch.arange(4)}),
}
LOGITS = ("lm_head", "classifier")
UNDONE = {
    "T5": ("lm_head", WIDER**0.5),
    **dict.fromkeys(("Gemma", "Gemma 2", "Gemma 3"), ("*.embed_tokens", WIDER**-0.5)),
}
"""Models that multiply by a power of their width: the module before it, and what undoes it."""


@functools.cache
def plain(name: str) -> tuple[mt.Plan, nn.Module]:
    """Return a plan and a model of its own initial values, to be copied before it is trained."""
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(32 * WIDER, 2 * DEEPER), make(32, 2)
    plan = mt.plan(model, base, hooks=ARCHITECTURES[name].hooks)
    plan.attach(model)
    plan.initialize(model)
    if name == "Mixtral":
        # The default has no kernel for float64; this one cannot be traced on the meta device.
        model.set_experts_implementation("eager")
    return plan, model.double().eval()


def explicit(
    plan: mt.Plan,
    model: nn.Module,
    ends: tuple[str, ...],
    *,
    branch: float = 1 / DEEPER,
    undone: tuple[str, float] | None = None,
) -> nn.Module:
    """Return the model with its multipliers in the forward pass."""
    other = copy.deepcopy(model)
    for name, parameter in other.named_parameters():
        parameter.data /= plan[name].factor("multiplier")

    def times(factor: float) -> Callable[..., Any]:
        return lambda module, inputs, output: output * factor

    for name, module in other.named_modules():
        module._forward_hooks.clear()
        if any(fnmatchcase(name, end) for end in ends):
            module.register_forward_hook(times(branch))
        if name in LOGITS:
            module.register_forward_pre_hook(lambda module, inputs: (inputs[0] / WIDER,))
        if undone is not None and fnmatchcase(name, undone[0]):
            module.register_forward_hook(times(undone[1]))
    return other


def train(model: nn.Module, groups: list[dict[str, Any]], data: dict[str, Tensor]) -> Tensor:
    """Return the logits before each step."""
    optimizer, outputs = torch.optim.AdamW(groups), []
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(STEPS):
            result = model(**data)
            outputs.append(result.logits.detach())
            optimizer.zero_grad()
            result.loss.backward()
            optimizer.step()
    return torch.stack(outputs)


def trained_apart(name: str, branch: float = 1 / DEEPER) -> float:
    """Return how far the plain form trains from explicit multipliers."""
    ends, data = CASES[name]
    plan, model = plain(name)
    other = explicit(plan, model, ends, branch=branch, undone=UNDONE.get(name))
    expected = train(other, groups8(plan, other, LR, EPS, DECAY), data)
    copied = copy.deepcopy(model)
    groups = plan.param_groups(copied, LR, eps=EPS, weight_decay=DECAY)
    return difference(expected, train(copied, groups, data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_the_plain_form_trains_as_explicit_multipliers(name: str) -> None:
    assert trained_apart(name) < 1e-12


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Llama", "Mixtral", "T5", "Gemma 2"])
def test_a_branch_without_its_multiplier_is_seen(name: str) -> None:
    assert trained_apart(name, branch=1.0) > 1e-2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_tensors_start_at_the_scale_of_table_8(name: str) -> None:
    plan, model = plain(name)
    assert_starts_at_table8(plan, model, rel=1e-5)
