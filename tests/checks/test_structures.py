"""The check agrees with plans on networks as other people write them, and sees their faults."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.checks import Spot
from tests.checks.planting import rate, scale, training
from tests.models.blocks import (
    Banked,
    BareReadout,
    Branches,
    Gained,
    OneBranch,
    Parallel,
    PublishedGPT,
    TiedWithBias,
    convolutions_in_a_row,
    in_a_row,
    numbered,
    pooled,
    standardised,
)

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTHS, DEPTHS = [64, 128, 256], [4, 8, 16]
TOKENS = torch.randint(64, (8, 16), generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SEQUENCES = torch.randn(32, 8, 16, generator=torch.Generator().manual_seed(0))


def features(count: int) -> Tensor:
    return torch.randn(32, count, generator=torch.Generator().manual_seed(0))


def squared(output: Tensor, batch: Tensor) -> Tensor:
    """The loss of outputs that should be the first features of their inputs."""
    flat = batch if batch.dim() == 2 else batch.flatten(1)
    targets = flat[:, : output.shape[-1]] if output.dim() > 1 else flat[:, 0]
    return (output - targets).square().mean()


FITTED = {"batch": features(10), "loss": squared}

RIGHT: dict[str, tuple[Callable[..., nn.Module], Mapping[str, Any]]] = {
    "one branch": (partial(in_a_row, OneBranch), {"depth": DEPTHS, **FITTED}),
    "parallel branches": (partial(in_a_row, Parallel), {"depth": DEPTHS, **FITTED}),
    "named layers": (partial(Branches, named=True), {"depth": DEPTHS, **FITTED}),
    "numbered layers": (partial(Branches, named=False), {"depth": DEPTHS, **FITTED}),
    "gains at the ends": (Gained, {"depth": [2, 4, 8, 16, 32], "control": False, **FITTED}),
    "one tensor of all layers": (Banked, {"depth": [2, 4, 8, 16, 32], **FITTED}),
    "convolutions": (convolutions_in_a_row, {"width": [16, 32, 64], "batch": IMAGES}),
    "tied head with a bias": (TiedWithBias, {"width": WIDTHS}),
    "published GPT, width": (PublishedGPT, {"width": WIDTHS}),
    "published GPT, depth": (PublishedGPT, {"depth": DEPTHS}),
    "published GPT, small rate": (PublishedGPT, {"depth": DEPTHS, "lr": 2**-10}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_rightly_planned_networks_pass_at_the_defaults(name: str) -> None:
    build, settings = RIGHT[name]
    check = mt.coordinate_check(build, **settings)
    assert check.verdict == "pass", check


def test_blocks_put_out_the_stream() -> None:
    settings = {"depth": [2, 8], "seeds": 1, "steps": 1, "control": False, **FITTED}
    for block, ends in ((OneBranch, ["down"]), (Parallel, ["f2", "g2"])):
        spots = mt.coordinate_check(partial(in_a_row, block), **settings).spots
        assert spots["1.*"] == Spot.STREAM and spots["3"] == Spot.READOUT
        assert {spots[f"1.*.{end}"] for end in ends} == {Spot.END}
        assert spots["1.*.norm"] == Spot.INSIDE


def test_the_published_gpt_fails_under_standard_parametrization() -> None:
    check = mt.coordinate_check(PublishedGPT, width=WIDTHS, rule="sp")
    assert check.verdict == "fail"
    assert "blocks.*.c_proj.weight" in {finding.name for finding in check.findings}


def undivided(module: str) -> dict[str, Any]:
    return {"train": training(scale(f"{module}.weight", "fan_in", 1 / 2))}


def test_an_initial_scale_in_a_sequential_network_is_seen() -> None:
    check = mt.coordinate_check(
        numbered, width=[64, 128, 256, 512], batch=features(32), **undivided("2")
    )
    assert check.verdict == "fail"
    assert "2.weight" in {finding.name for finding in check.findings}


VECTOR, GAIN = {"v": "vector"}, {"*.gain": "hidden"}
BARE: dict[str, tuple[Callable[..., nn.Module], Mapping[str, Any], str]] = {
    "readout": (BareReadout, {"roles": VECTOR, "batch": features(16)}, "v"),
    "pooling": (pooled, {"roles": {"4.score": "vector"}, "batch": SEQUENCES}, "4.score"),
    "pooling, small rate": (
        pooled,
        {"roles": {"4.score": "vector"}, "batch": SEQUENCES, "lr": 2**-10},
        "4.score",
    ),
    "standardised weight": (
        standardised,
        {"train": training(rate("1.gain", "fan_out", 1)), "batch": features(10)},
        "1.gain",
    ),
}


@pytest.mark.parametrize("name", BARE)
def test_a_bare_tensor_with_too_large_a_rate_is_named(name: str) -> None:
    build, settings, tensor = BARE[name]
    check = mt.coordinate_check(build, width=WIDTHS, loss=squared, control=False, **settings)
    assert check.verdict == "fail"
    assert tensor in {finding.name for finding in check.findings}, check.findings


@pytest.mark.parametrize(("build", "tensor"), [(Gained, "gains.*"), (Banked, "bank")])
def test_a_branch_with_too_large_a_rate_is_named(
    build: Callable[..., nn.Module], tensor: str
) -> None:
    edit = training(rate(tensor, "depth", 1))
    check = mt.coordinate_check(
        build, depth=[2, 4, 8, 16, 32], train=edit, control=False, batch=features(10), loss=squared
    )
    assert check.verdict == "fail"
    assert tensor in {finding.name for finding in check.findings}, check.findings


def hugging_face(name: str, config: str, **settings: Any) -> Callable[..., nn.Module]:
    def build(width: int) -> nn.Module:
        sizes = {key: width // 16 if value == "heads" else value for key, value in settings.items()}
        sizes = {key: width if value == "width" else value for key, value in sizes.items()}
        return getattr(transformers, name)(getattr(transformers, config)(**sizes))

    return build


HIDDEN = {"hidden_size": "width", "num_hidden_layers": 2, "vocab_size": 64}
SETTINGS: dict[str, Any] = {"n_embd": "width", "n_layer": 2, "n_head": "heads", "vocab_size": 64}
SPECIAL = {"bos_token_id": 0, "eos_token_id": 0}
OTHERS = {
    "GPT-J": hugging_face(
        "GPTJForCausalLM", "GPTJConfig", **SETTINGS, **SPECIAL, n_positions=32, rotary_dim=8
    ),
    "Falcon": hugging_face(
        "FalconForCausalLM",
        "FalconConfig",
        **HIDDEN,
        **SPECIAL,
        num_attention_heads="heads",
        multi_query=False,
    ),
    "RWKV": hugging_face(
        "RwkvForCausalLM", "RwkvConfig", **HIDDEN, **SPECIAL, attention_hidden_size="width"
    ),
    "Mixtral": hugging_face(
        "MixtralForCausalLM",
        "MixtralConfig",
        **HIDDEN,
        intermediate_size="width",
        num_attention_heads="heads",
        num_key_value_heads="heads",
        num_local_experts=4,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_caches_routers_and_writes_in_place_are_no_faults(name: str) -> None:
    batch = {"input_ids": TOKENS}
    check = mt.coordinate_check(OTHERS[name], width=WIDTHS, batch=batch, control=False)
    assert check.verdict == "pass", check
    assert not [note for note in check.notes if "in place" in note]


def test_the_users_configuration_keeps_its_cache() -> None:
    config = transformers.GPTJConfig(
        n_embd=64, n_layer=1, n_head=4, vocab_size=64, n_positions=32, rotary_dim=8
    )

    def build(width: int) -> nn.Module:
        config.n_embd, config.n_head = width, width // 16
        return transformers.GPTJForCausalLM(config)

    settings = {"width": [64, 256], "seeds": 1, "steps": 1, "control": False}
    mt.coordinate_check(build, batch={"input_ids": TOKENS}, **settings)
    assert config.use_cache
