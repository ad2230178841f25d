"""Builders of Hugging Face models from small configurations, and their inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .entry import Entry, normal, tokens
from .truth import (
    CARRIES,
    EMBEDDING,
    READOUT,
    TIED,
    Kind,
    Truth,
)

HEAD, VOCABULARY = 8, 64
Build = Callable[[int, int], nn.Module]


def width(n: int, d: int) -> int:
    """Return the width."""
    return n


def twice(n: int, d: int) -> int:
    """Return twice the width."""
    return 2 * n


def four(n: int, d: int) -> int:
    """Return four times the width."""
    return 4 * n


def depth(n: int, d: int) -> int:
    """Return the depth."""
    return d


def heads(n: int, d: int) -> int:
    """Return the number of heads of constant size."""
    return n // HEAD


SIZES: dict[str, Any] = {
    "hidden_size": width,
    "intermediate_size": twice,
    "num_hidden_layers": depth,
    "num_attention_heads": heads,
}
TEXT = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
LANGUAGE = SIZES | TEXT
VISION = SIZES | {"image_size": 32, "patch_size": 8, "num_labels": 10}


def evaluated(value: Any, n: int, d: int) -> Any:
    """Return a setting at this size; dictionaries hold settings, too."""
    if isinstance(value, Mapping):
        return {key: evaluated(each, n, d) for key, each in value.items()}
    return value(n, d) if callable(value) else value


def built(name: str, config: str = "", **settings: Any) -> Build:
    """Return a builder of the class of this name.

    Args:
        name: Name of the class.
        config: Name of its configuration's class; by default read off the class's name.
        settings: Its settings; functions get width and depth.
    """

    def build(n: int, d: int) -> nn.Module:
        import transformers

        kind = config or re.sub(r"(For|LMHead|With|Model$|DoubleHeads).*", "", name) + "Config"
        values = {key: evaluated(value, n, d) for key, value in settings.items()}
        model: nn.Module = getattr(transformers, name)(getattr(transformers, kind)(**values))
        return model

    return build


def text() -> dict[str, Tensor]:
    """Return tokens, the second row padded on the right."""
    ids = tokens(2, 12)
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def unmasked() -> dict[str, Tensor]:
    """Return tokens alone."""
    return {"input_ids": tokens(2, 12)}


def pair() -> dict[str, Tensor]:
    """Return tokens for an encoder and a decoder."""
    return text() | {"decoder_input_ids": tokens(2, 7, seed=1)}


def pixels() -> dict[str, Tensor]:
    """Return two images."""
    return {"pixel_values": normal(2, 3, 32, 32)}


def hf(
    name: str,
    model: str,
    truth: Truth | Iterable[Truth],
    *,
    config: str = "",
    inputs: Callable[[], Any] = text,
    special: str = "",
    settings: Mapping[str, Any] = LANGUAGE,
    fields: Mapping[str, Any] | None = None,
    **more: Any,
) -> Entry:
    """Return the entry of a Hugging Face model.

    Args:
        name: Name of the entry.
        model: Name of the class.
        truth: The right way to scale it, or several.
        config: Name of its configuration's class.
        inputs: Its inputs.
        special: A few words for the table.
        settings: Settings of its configuration that it shares with others.
        fields: Further fields of the entry.
        more: Further settings of its configuration.
    """
    return Entry(
        name=name,
        package="transformers",
        build=built(model, config, **{**settings, **more}),
        inputs=inputs,
        truths=(truth,) if isinstance(truth, Truth) else tuple(truth),
        special=special,
        **(fields or {}),
    )


POST_NORM = {"refused": {"depth": "post-norm"}}
HEADED = {"lm_head.weight": READOUT}


def untied(embedding: str, *ends: str, **kinds: Kind) -> Truth:
    """Return the truth of a decoder whose head is a matrix of its own."""
    return Truth(kinds={embedding: EMBEDDING, **HEADED, **kinds}, ends=ends)


def tied(embedding: str, norm: str, *ends: str) -> Truth:
    """Return the truth of a decoder whose head is the embedding; the final norm carries 1/m."""
    return Truth(kinds={embedding: TIED, norm: CARRIES}, ends=ends)


def scaled_embedding(truth: Truth, embedding: str, norm: str, module: str) -> tuple[Truth, Truth]:
    """Return the truths of a tied model that multiplies its embedding by sqrt(width).

    The embedding itself undoes sqrt(m), so that the logits need m^(-1/2) more; or a hook undoes it,
    and the final norm carries the whole 1/m.
    """
    half = truth.but({embedding: TIED.times(-0.5), norm: TIED.times(-0.5)})
    whole = truth.but({embedding: TIED, norm: CARRIES})
    return half, replace(whole, forward={module: (-0.5, False)})


HOOKS = {"hints": {"hooks": True}}
