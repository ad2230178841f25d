"""Architectures of Hugging Face, built from small configurations.

They are planned without a hint, every tensor with the role it should have, and the plain form trains as the explicit multipliers do that
are put by hand where the papers put them: residual branches times 1/depth (CompleteP, 2505.01618, Table 1), logits times 1/fan_in (Tensor
Programs V, 2203.03466, Table 8), as hooks on modules, with every tensor at the scale, rate, eps and decay of Table 8's form.
"""

import copy
import re
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
from mutransfer.plan import Plan
from mutransfer.rules import Place, Quantities, Role, family, parametrization

HEAD, VOCABULARY = 8, 64
Make = Callable[[int, int], nn.Module]


def built(name: str, *, config: str = "", **settings: object) -> Make:
    """The class `<name>` from its own configuration; settings may be functions of width and depth."""
    model = getattr(transformers, name)
    kind = getattr(transformers, config or re.sub(r"(For|LMHead).*", "", name) + "Config")

    def make(width: int, depth: int) -> nn.Module:
        values = {k: v(width, depth) if callable(v) else v for k, v in settings.items()}
        torch.manual_seed(0)
        return model(kind(**values))

    return make


def WIDTH(n: int, d: int) -> int:
    return n


def TWICE(n: int, d: int) -> int:
    return 2 * n


def DEPTH(n: int, d: int) -> int:
    return d


def HEADS(n: int, d: int) -> int:
    return n // HEAD


SIZES = {"hidden_size": WIDTH, "intermediate_size": TWICE, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
LANGUAGE = {**SIZES, "vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
VISION = {**SIZES, "image_size": 32, "patch_size": 8, "num_labels": 10}


@dataclass(frozen=True)
class Architecture:
    """A family of sizes, how many residual branches a layer has, and the roles of some of its tensors."""

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
BERT = {"*.word_embeddings.weight": Role.TIED, "*.query.weight": Role.HIDDEN, "*.position_embeddings.weight": Role.EMBEDDING}
GPT2 = {"*.wte.weight": Role.TIED, "*.wpe.weight": Role.EMBEDDING, "*.c_attn.weight": Role.HIDDEN, "*.mlp.c_proj.weight": Role.HIDDEN}
VIT = {"*.patch_embeddings.projection.weight": Role.INPUT, "classifier.weight": Role.READOUT}
T5 = {"shared.weight": Role.TIED, "*Attention.?.weight": Role.HIDDEN, "*.wo.weight": Role.HIDDEN}
MIXTRAL = {"*.gate.weight": Role.ROUTER, "*.experts.gate_up_proj": Role.EXPERT, "*.experts.down_proj": Role.EXPERT}
NEOX = {"*.query_key_value.weight": Role.HIDDEN, "*.embed_in.weight": Role.EMBEDDING, "lm_head.weight": Role.READOUT}
CONVNEXT = {"*.dwconv.weight": Role.DEPTHWISE, "*.pwconv?.weight": Role.HIDDEN, "classifier.weight": Role.READOUT}

GEMMA = {"num_key_value_heads": HEADS, "head_dim": HEAD}

ARCHITECTURES = {
    "Llama": Architecture(built("LlamaForCausalLM", **LANGUAGE), 2, OWN | UNTIED),
    "Llama, tied": Architecture(built("LlamaForCausalLM", **LANGUAGE, tie_word_embeddings=True), 2, OWN | TIED),
    "Llama, grouped queries": Architecture(built("LlamaForCausalLM", **LANGUAGE, num_key_value_heads=2), 2, SHARED | UNTIED),
    "Mistral": Architecture(built("MistralForCausalLM", **LANGUAGE, num_key_value_heads=HEADS), 2, OWN | UNTIED),
    "Qwen2": Architecture(built("Qwen2ForCausalLM", **LANGUAGE, num_key_value_heads=2), 2, SHARED | UNTIED),
    "Qwen3": Architecture(
        built("Qwen3ForCausalLM", **LANGUAGE, num_key_value_heads=2, head_dim=HEAD),
        2,
        SHARED | UNTIED | {"*.q_norm.weight": Role.HEAD_GAIN, "*.k_norm.weight": Role.HEAD_GAIN},
    ),
    "Phi-3": Architecture(built("Phi3ForCausalLM", **LANGUAGE), 2, {"*.qkv_proj.weight": Role.HIDDEN} | UNTIED),
    "OLMo 2": Architecture(built("Olmo2ForCausalLM", **LANGUAGE), 2, OWN | UNTIED),
    "GPT-2": Architecture(
        built(
            "GPT2LMHeadModel",
            n_embd=WIDTH,
            n_layer=DEPTH,
            n_head=HEADS,
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
            hidden_size=WIDTH,
            ffn_dim=TWICE,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            word_embed_proj_dim=WIDTH,
            vocab_size=VOCABULARY,
            max_position_embeddings=32,
        ),
        2,
        {"*.embed_tokens.weight": Role.TIED, "*.fc2.weight": Role.HIDDEN},
    ),
    "BLOOM": Architecture(
        built("BloomForCausalLM", hidden_size=WIDTH, n_layer=DEPTH, n_head=HEADS, vocab_size=VOCABULARY),
        2,
        {"*.word_embeddings.weight": Role.TIED, "*.query_key_value.weight": Role.HIDDEN},
    ),
    "Mixtral": Architecture(built("MixtralForCausalLM", **LANGUAGE, num_key_value_heads=HEADS, num_local_experts=4), 2, MIXTRAL | UNTIED),
    "BERT": Architecture(built("BertForMaskedLM", **LANGUAGE), 2, BERT, deep=False),
    "Gemma": Architecture(built("GemmaForCausalLM", **LANGUAGE, **GEMMA), 2, OWN | TIED, hooks=True),
    "Gemma 2": Architecture(built("Gemma2ForCausalLM", **LANGUAGE, **GEMMA), 2, OWN | TIED, hooks=True),
    "Gemma 3": Architecture(built("Gemma3ForCausalLM", config="Gemma3TextConfig", **LANGUAGE, **GEMMA), 2, OWN | TIED, hooks=True),
    "T5": Architecture(
        built(
            "T5ForConditionalGeneration",
            d_model=WIDTH,
            d_ff=TWICE,
            num_layers=DEPTH,
            num_heads=HEADS,
            d_kv=HEAD,
            vocab_size=VOCABULARY,
            decoder_start_token_id=0,
        ),
        5,
        T5,
    ),
    "ViT": Architecture(built("ViTForImageClassification", **VISION), 2, VIT),
    "DINOv2": Architecture(
        built("Dinov2ForImageClassification", **{k: v for k, v in VISION.items() if k != "intermediate_size"}),
        2,
        {"classifier.weight": Role.READOUT, "*.projection.weight": Role.INPUT},
    ),
    "CLIP vision": Architecture(
        built("CLIPVisionModelWithProjection", config="CLIPVisionConfig", **VISION, projection_dim=12),
        2,
        {"visual_projection.weight": Role.READOUT},
    ),
    "Mamba": Architecture(
        built("MambaForCausalLM", hidden_size=WIDTH, num_hidden_layers=DEPTH, vocab_size=VOCABULARY, state_size=4),
        1,
        {"*_proj.weight": Role.HIDDEN, "*.A_log": Role.VECTOR, "*.conv1d.weight": Role.DEPTHWISE, "*.embeddings.weight": Role.TIED},
    ),
    "Mamba 2": Architecture(
        built(
            "Mamba2ForCausalLM",
            hidden_size=WIDTH,
            num_hidden_layers=DEPTH,
            vocab_size=VOCABULARY,
            state_size=4,
            num_heads=lambda n, d: 2 * n // HEAD,
            head_dim=HEAD,
            n_groups=1,
            chunk_size=8,
        ),
        1,
        {"*_proj.weight": Role.HIDDEN, "*.A_log": Role.VECTOR, "*.conv1d.weight": Role.DEPTHWISE} | UNTIED,
    ),
    "ResNet": Architecture(
        built("ResNetForImageClassification", embedding_size=WIDTH, hidden_sizes=lambda n, d: [n, 2 * n], depths=[2, 3], num_labels=10),
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


def planned(name: str, wider: int, deeper: int) -> Plan:
    make = ARCHITECTURES[name].make
    with quiet():
        return mt.plan(make(32 * wider, 2 * deeper), make(32, 2), hooks=ARCHITECTURES[name].hooks)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_planned_in_width_and_depth_without_a_hint(name: str) -> None:
    own = planned(name, 2, 3 if ARCHITECTURES[name].deep else 1)
    each = ARCHITECTURES[name].branches * 2
    assert own.depth == (each, 3 * each if ARCHITECTURES[name].deep else each)
    assert own.rule == ("completep" if ARCHITECTURES[name].deep else "mup")
    for pattern, role in ARCHITECTURES[name].roles.items():
        found = [
            tensor.role
            for tensor in own.tensors.values()
            if re.fullmatch(pattern.replace(".", r"\.").replace("*", ".*").replace("?", "."), tensor.name)
        ]
        assert found and set(found) == {role}, pattern
    assert own.forward or any(tensor.place == Place.BRANCH_END for tensor in own.tensors.values())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["BERT"])
def test_depth_after_post_norm_is_refused(name: str) -> None:
    with pytest.raises(mt.MutransferError, match="a normalisation follows the residual joins"):
        planned(name, 1, 2)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Gemma 2", "Gemma 3"])
def test_a_gain_that_counts_from_one_carries_no_multiplier(name: str) -> None:
    """Gemma's norms multiply by 1 + weight, so that no learned tensor can carry the branch's multiplier; a hook can."""
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(32, 4), make(32, 2)
    with pytest.raises(mt.MutransferError, match=r"residual branch 1 of .* does not end in learned tensors .*hooks=True"):
        mt.plan(model, base)
    own = mt.plan(model, base, hooks=True)
    assert {module.removeprefix("model.layers.") for module in own.forward} == {
        f"{i}.{end}" for i in range(4) for end in ("post_attention_layernorm", "post_feedforward_layernorm")
    }
    assert {each.factor for each in own.forward.values()} == {0.5}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Llama, grouped queries", "GPT-2", "Mixtral"])
def test_it_trains(name: str) -> None:
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(64, 4), make(32, 2)
    own = mt.plan(model, base)
    own.initialize(model)
    optimizer = torch.optim.AdamW(own.param_groups(model, lr=1e-2))
    tokens = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(12):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


STEPS, WIDER, DEEPER = 10, 3, 3
LR, EPS, DECAY = 5e-3, 1e-4, 0.1
TOKENS = torch.randint(VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
TEXT = {"input_ids": TOKENS, "labels": TOKENS}
SANDWICH = ("*.post_attention_layernorm", "*.post_feedforward_layernorm")
CASES = {
    # name: modules that end a branch, data
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
UNDONE = {"T5": ("lm_head", WIDER**0.5)} | dict.fromkeys(("Gemma", "Gemma 2", "Gemma 3"), ("*.embed_tokens", WIDER**-0.5))
"""Of models that multiply by a power of their width themselves: the module behind which, and what undoes it."""


def plain(name: str) -> tuple[Plan, nn.Module]:
    make = ARCHITECTURES[name].make
    with quiet():
        model, base = make(32 * WIDER, 2 * DEEPER), make(32, 2)
    own = mt.plan(model, base, hooks=ARCHITECTURES[name].hooks)
    own.attach(model)
    own.initialize(model)
    if name == "Mixtral":
        model.set_experts_implementation("eager")  # the default has no kernel for float64; this one cannot be traced on the meta device
    return own, model.double().eval()


def table8(own: Plan, name: str) -> Quantities:
    tensor = own[name]
    return parametrization(own.rule).quantities(tensor.role, family("adamw"), tensor.place, form="table8")


def explicit(
    own: Plan, model: nn.Module, ends: tuple[str, ...], *, branch: float = 1 / DEEPER, undone: tuple[str, float] | None = None
) -> nn.Module:
    """The model with its multipliers in the forward pass, and its tensors without them."""
    other = copy.deepcopy(model)
    for name, parameter in other.named_parameters():
        parameter.data /= own[name].factor("multiplier")

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
    optimizer, outputs = torch.optim.AdamW(groups), []
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(STEPS):
            found = model(**data)
            outputs.append(found.logits.detach())
            optimizer.zero_grad()
            found.loss.backward()
            optimizer.step()
    return torch.stack(outputs)


def groups8(own: Plan, model: nn.Module) -> list[dict[str, Any]]:
    def group(name: str, parameter: Tensor) -> dict[str, Any]:
        q, ratios = table8(own, name), {"head_dim": 1, **own[name].ratios}
        values = {"lr": (LR, q.lr), "eps": (EPS, q.eps), "weight_decay": (DECAY, q.decay)}
        return {"params": [parameter]} | {key: base * power.evaluate(ratios) for key, (base, power) in values.items()}

    return [group(name, parameter) for name, parameter in model.named_parameters()]


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / (a - a[0]).norm()).item()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_the_plain_form_trains_as_explicit_multipliers(name: str) -> None:
    ends, data = CASES[name]
    own, model = plain(name)
    other = explicit(own, model, ends, undone=UNDONE.get(name))
    trained = train(other, groups8(own, other), data)
    assert difference(trained, train(model, own.param_groups(model, LR, eps=EPS, weight_decay=DECAY), data)) < 1e-12


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["Llama", "Mixtral", "T5", "Gemma 2"])
def test_a_branch_without_its_multiplier_is_seen(name: str) -> None:
    ends, data = CASES[name]
    own, model = plain(name)
    other = explicit(own, model, ends, branch=1.0, undone=UNDONE.get(name))
    trained = train(other, groups8(own, other), data)
    assert difference(trained, train(model, own.param_groups(model, LR, eps=EPS, weight_decay=DECAY), data)) > 1e-2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_tensors_start_at_the_scale_that_table_8_says(name: str) -> None:
    own, model = plain(name)
    for tensor in own.tensors.values():
        start = torch.cat([(model.get_parameter(each) / own[each].factor("multiplier")).flatten() for each in tensor.run])
        wanted = (tensor.base_rms or 0.0) * table8(own, tensor.name).init.evaluate(tensor.ratios)
        assert start.square().mean().sqrt().item() == pytest.approx(wanted, rel=1e-5), tensor.name
