"""A model, and all that its forward pass changes, is as before once its program is recorded."""

import copy
import functools
import random
import types
from argparse import Namespace
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import Tensor, nn

import mutransfer as mt
from mutransfer.pytorch import _untouched
from mutransfer.pytorch._record import record_program
from mutransfer.pytorch._snapshot import Snapshot

ROWS = torch.ones(2, 5)
CACHE: dict[int, Any] = {}
CALLS = 0


class Helper:
    """A cache as models have them beside their modules."""

    def __init__(self) -> None:
        self.entries: dict[Any, Any] = {}
        self.inner = Namespace(seen=[1], config=OrderedDict(a=1))


class Slotted:
    __slots__ = ("count", "unset")

    def __init__(self) -> None:
        self.count = 300


class Limited(OrderedDict[Any, Any]):
    """A dictionary that does more on every write than to keep it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) > 1:
            self.popitem(last=False)
        super().__setitem__(key, value)


class Net(nn.Module):
    """A layer that does harm in its forward pass."""

    shared: dict[Any, Any] = {}  # noqa: RUF012
    number = 1000

    def __init__(self, harm: Callable[..., Any] = lambda net, x: None) -> None:
        super().__init__()
        self.layer, self.norm, self.harm = nn.Linear(5, 5), nn.BatchNorm1d(5), harm
        self.lookup: Any = {"a": 1, "b": [1, 2]}
        self.ordered = OrderedDict(a=1, b=2)
        self.limited = Limited({1: 1, 2: 2})
        self.several = [1, {"deep": (1, {"deeper": 2})}]
        self.marked, self.recent, self.array = {1, 2}, deque([1, 2], maxlen=2), np.ones(3)
        self.helper, self.slotted, self.calls = Helper(), Slotted(), 1000
        self.torch_draws = torch.Generator().manual_seed(3)
        self.python_draws, self.numpy_draws = random.Random(3), np.random.default_rng(3)
        self.old_draws = np.random.RandomState(3)
        self.plain_tensor = torch.ones(3)
        self.register_buffer("state", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        self.harm(self, y)
        return self.norm(y)


@functools.lru_cache(maxsize=2)
def table(size: int) -> Tensor:
    return torch.ones(size)


def with_default(x: Tensor, cache: dict[Any, Any] = {}) -> None:  # noqa: B006
    cache[len(cache)] = x


def counted() -> Callable[..., Any]:
    """A function with a variable of its own."""
    calls = 1000

    def count(net: Net, x: Tensor) -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


def rebinds(net: Net, x: Tensor) -> None:
    global CALLS
    CALLS += 1000


def hooks(net: Net, x: Tensor) -> None:
    net.layer.register_forward_hook(lambda *_: None)
    net.norm.register_forward_pre_hook(lambda *_: None)


def learns(net: Net, x: Tensor) -> None:
    net.layer.weight.sum().backward()


def freezes(net: Net, x: Tensor) -> None:
    net.layer.bias.requires_grad_(False)


def overwrites(net: Net, x: Tensor) -> None:
    with torch.no_grad():
        net.layer.weight.mul_(2)
        net.state[1:3] += 5
        net.plain_tensor.data.fill_(0)


def moves(net: Net, x: Tensor) -> None:
    net.layer.weight.data = torch.zeros(5, 5)


HARMS: dict[str, Callable[..., Any]] = {
    "attribute": lambda net, x: setattr(net, "cached", x),
    "changed attribute": lambda net, x: setattr(net, "lookup", x),
    "deleted attribute": lambda net, x: delattr(net, "recent"),
    "dict": lambda net, x: net.lookup.update(b=x, c=x),
    "nested list": lambda net, x: net.lookup["b"].append(x),
    "ordered dict": lambda net, x: net.ordered.move_to_end("a"),
    "evicting dict": lambda net, x: net.limited.__setitem__(3, x),
    "list": lambda net, x: net.several.insert(0, x),
    "dict in a tuple": lambda net, x: net.several[-1]["deep"][1].clear(),
    "set": lambda net, x: net.marked.add(x),
    "deque": lambda net, x: net.recent.append(x),
    "array": lambda net, x: net.array.__iadd__(1),
    "helper": lambda net, x: net.helper.entries.update(x=x),
    "helper's attribute": lambda net, x: setattr(net.helper, "late", x),
    "helper's helper": lambda net, x: net.helper.inner.seen.append(x),
    "configuration": lambda net, x: net.helper.inner.config.update(a=2),
    "slot": lambda net, x: setattr(net.slotted, "count", 301),
    "empty slot": lambda net, x: setattr(net.slotted, "unset", 1),
    "counter": lambda net, x: setattr(net, "calls", net.calls + 1),
    "class attribute": lambda net, x: setattr(Net, "number", Net.number + 1),
    "late class attribute": lambda net, x: setattr(Net, "late", x),
    "cache in a class": lambda net, x: Net.shared.update(x=x),
    "global": rebinds,
    "global cache": lambda net, x: CACHE.update({len(CACHE): x}),
    "lru_cache": lambda net, x: table(7),
    "default argument": lambda net, x: with_default(x),
    "closure": counted(),
    "hooks": hooks,
    "submodule": lambda net, x: net.add_module("late", nn.Linear(2, 2)),
    "replaced submodule": lambda net, x: net.add_module("layer", nn.Linear(5, 5)),
    "class": lambda net, x: setattr(net.layer, "__class__", nn.Identity),
    "training flag": lambda net, x: net.norm.train(not net.norm.training),
    "parameter": lambda net, x: net.register_parameter("late", nn.Parameter(torch.ones(2))),
    "buffer": lambda net, x: net.register_buffer("late", x, persistent=False),
    "numbers": overwrites,
    "memory": moves,
    "gradient": learns,
    "requires_grad": freezes,
    "seed of torch": lambda net, x: torch.rand(3),
    "seed of Python": lambda net, x: random.random(),
    "seed of NumPy": lambda net, x: np.random.rand(),
    "own generator of torch": lambda net, x: torch.rand(3, generator=net.torch_draws),
    "own generator of Python": lambda net, x: net.python_draws.random(),
    "own generator of NumPy": lambda net, x: net.numpy_draws.random(),
    "own old generator of NumPy": lambda net, x: net.old_draws.rand(),
}


def picture(found: Any, depth: int = 12) -> Any:
    """Everything about an object as plain data that can be compared."""
    again = functools.partial(picture, depth=depth - 1)
    if depth == 0:
        return "..."
    match found:
        case Tensor():
            grad = again(found.grad) if found.is_leaf else None
            numbers = None if found.is_meta else found.detach().tolist()
            return numbers, str(found.dtype), str(found.device), found.requires_grad, grad
        case torch.Generator():
            return found.get_state().tolist()
        case random.Random():
            return found.getstate()
        case np.random.Generator():
            return str(found.bit_generator.state)
        case np.random.RandomState():
            return str(found.get_state())
        case np.ndarray():
            return found.tolist()
        case dict():
            return [(key, again(value)) for key, value in found.items()]
        case list() | tuple() | deque():
            return [again(each) for each in found]
        case set():
            return sorted(map(str, found))
        case types.FunctionType():
            cells = [again(cell.cell_contents) for cell in found.__closure__ or ()]
            return found.__name__, again(found.__defaults__), cells
        case Slotted():
            return [again(getattr(found, name, "unset")) for name in Slotted.__slots__]
        case nn.Module() | Helper() | Namespace():
            return type(found).__name__, again(vars(found))
        case _:
            return repr(found)


def surroundings(net: Net) -> Any:
    """A picture of a model and of all that its code can reach."""
    state = {k: v for k, v in vars(Net).items() if not isinstance(v, types.FunctionType)}
    return (
        picture(net),
        picture({k: v for k, v in state.items() if k in ("shared", "number", "late")}),
        (picture(CACHE), CALLS, picture(with_default), table.cache_info().currsize),
        (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())),
    )


def restored_by_hand(net: Net) -> None:
    """Undo the harm that outlives a test."""
    global CALLS
    CALLS, Net.number = 0, 1000
    for cache in (CACHE, Net.shared, with_default.__defaults__[0]):
        cache.clear()
    table.cache_clear()
    if "late" in vars(Net):
        del Net.late


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("harm", HARMS)
def test_a_forward_pass_leaves_no_trace(harm: str, fails: bool) -> None:
    def run(net: Net, x: Tensor) -> None:
        HARMS[harm](net, x)
        if fails:
            raise KeyError

    net = Net(run)
    net.train()
    before = surroundings(net)
    if fails:
        with pytest.raises(mt.MutransferError):
            record_program(net, ROWS)
    else:
        record_program(net, ROWS)
    assert surroundings(net) == before


@pytest.mark.parametrize("harm", HARMS)
def test_the_harm_is_seen_without_restoration(harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(HARMS[harm])
    net.train()
    monkeypatch.setattr(_untouched.Untouched, "seed", lambda self: None)
    monkeypatch.setattr(_untouched.Untouched, "restore", lambda self: net.train())
    before = surroundings(net)
    record_program(net, ROWS)
    assert surroundings(net) != before or harm == "training flag"
    restored_by_hand(net)


def test_training_mode_leaves_running_statistics_and_flags() -> None:
    net = Net()
    net.layer.eval()
    before = surroundings(net)
    record_program(net, ROWS * torch.arange(2)[:, None], training=True)
    assert surroundings(net) == before


def test_adapters_that_are_merged_in_evaluation_stay_apart() -> None:
    class Merging(nn.Linear):
        def train(self, mode: bool = True) -> "Merging":
            self.weight.data += 1
            return super().train(mode)

    model = Merging(5, 5)
    before = model.weight.detach().clone()
    record_program(model, ROWS)
    assert torch.equal(model.weight, before)
    assert model.training


def test_inputs_are_not_written() -> None:
    x, cache = ROWS.clone(), Helper()

    class Greedy(Net):
        def forward(self, x: Tensor, cache: Helper) -> Tensor:
            cache.entries["x"] = x.mul_(2)
            return super().forward(x)

    record_program(Greedy(), {"x": x, "cache": cache})
    assert torch.equal(x, ROWS)
    assert cache.entries == {}


def test_values_that_were_cached_before_are_kept() -> None:
    table.cache_clear()
    ones, net = table(3), Net(lambda net, x: table(3))
    record_program(net, ROWS)
    assert table(3) is ones
    table.cache_clear()


@pytest.mark.parametrize("replaced", [False, True])
def test_caches_made_between_two_recordings_are_emptied(replaced: bool) -> None:
    earlier = functools.cache(lambda size: torch.ones(size))
    record_program(Net(), ROWS)
    if replaced:  # as many as before
        del earlier
    late = functools.cache(lambda size: torch.ones(size))
    record_program(Net(lambda net, x: late(7)), ROWS)
    assert late.cache_info().currsize == 0


@pytest.mark.parametrize("kind", ["meta", "cpu"])
def test_parameters_keep_their_identity(kind: str) -> None:
    model = nn.Sequential(nn.Embedding(7, 4), nn.LSTM(4, 4), nn.Identity()).to(kind)
    model[2].tied = model[0].weight
    before = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    flat = [id(p) for p in model[1]._flat_weights]
    record_program(model, torch.arange(6).view(3, 2) % 7)
    assert {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)} == before
    assert [id(p) for p in model[1]._flat_weights] == flat


def test_settings_of_torch_are_given_back() -> None:
    def settings() -> tuple[Any, ...]:
        return (
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.flash_sdp_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            len(torch.nn.modules.module._global_forward_hooks),
            len(torch.nn.modules.module._global_forward_pre_hooks),
        )

    with torch.inference_mode(), torch.autocast("cpu"):
        before = settings()
        record_program(Net(), ROWS)
        with pytest.raises(mt.MutransferError):
            record_program(Net(), torch.ones(2, 3))
        assert settings() == before


def llama(**config: Any) -> nn.Module:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "vocab_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return tf.LlamaForCausalLM(tf.LlamaConfig(**sizes, **heads, **config))


def segformer() -> nn.Module:
    config = tf.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 32],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
    )
    return tf.SegformerForSemanticSegmentation(config)


IDS = torch.ones(1, 8, dtype=torch.long)


@pytest.mark.parametrize("on_meta", [False, True])
def test_hidden_states_are_captured_once(on_meta: bool) -> None:
    model = llama(output_hidden_states=True)
    record_program(copy.deepcopy(model).to("meta") if on_meta else model)
    record_program(model)
    assert sum(len(module._forward_hooks) for module in model.modules()) == 0
    assert len(model(IDS).hidden_states) == 3


def test_a_segmentation_model_still_runs() -> None:
    model, images = segformer(), torch.randn(2, 3, 32, 32)
    record_program(model, {"pixel_values": images})
    assert model(pixel_values=images).logits.shape == (2, 2, 8, 8)


def test_outputs_and_gradients_are_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    fresh = llama(attention_dropout=0.1).train()
    model = copy.deepcopy(fresh)
    record_program(model)
    record_program(model, training=True)
    assert model.training
    for each in (fresh, model):
        torch.manual_seed(1)
        each(IDS, labels=IDS).loss.backward()
    for ours, theirs in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is not None and theirs.grad is not None
        assert torch.equal(ours.grad, theirs.grad)


class Lazy(types.ModuleType):
    """A package that imports its parts when they are asked for, as transformers does."""


@pytest.mark.parametrize("kind", [types.ModuleType, Lazy])
def test_packages_of_any_kind_are_not_walked_through(kind: type[types.ModuleType]) -> None:
    """Transformers' one holds all of transformers, a hundred thousand objects."""
    package, part = kind("package_of_this_test"), {"seen": [1]}
    vars(package)["part"] = part
    holder = Namespace(package=package)
    found = Snapshot(holder)
    assert any(table is vars(holder) for table in found.tables)
    assert not any(table is part for table in found.tables)
