"""Models of Hugging Face from small configurations, without weights from anywhere."""

import re
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

HEAD, VOCABULARY = 8, 64
Make = Callable[[int, int], nn.Module]


def width(n: int, d: int) -> int:
    return n


def twice(n: int, d: int) -> int:
    return 2 * n


def depth(n: int, d: int) -> int:
    return d


def heads(n: int, d: int) -> int:
    return n // HEAD


SIZES: dict[str, Any] = {
    "hidden_size": width,
    "intermediate_size": twice,
    "num_hidden_layers": depth,
    "num_attention_heads": heads,
}
LANGUAGE = SIZES | {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
VISION = SIZES | {"image_size": 32, "patch_size": 8, "num_labels": 10}


def built(name: str, *, config: str = "", **settings: object) -> Make:
    """A builder of the class with this name, by its own configuration.

    Args:
        name: Name of the class.
        config: Name of the configuration's class; by default what the class's name says.
        settings: Its settings; functions get width and depth.
    """
    model = getattr(transformers, name)
    kind = getattr(transformers, config or re.sub(r"(For|LMHead).*", "", name) + "Config")

    def make(n: int, d: int) -> nn.Module:
        values = {k: v(n, d) if callable(v) else v for k, v in settings.items()}
        torch.manual_seed(0)
        return model(kind(**values))

    return make


def llama(n: int, d: int, *, tied: bool = False) -> nn.Module:
    """A Llama with two heads of keys and values."""
    settings = LANGUAGE | {"num_key_value_heads": 2, "tie_word_embeddings": tied}
    return built("LlamaForCausalLM", **settings)(n, d)
