"""Programs: operations, values and modules of one forward pass."""

import copy
import pickle
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from torch.utils.checkpoint import checkpoint

import mutransfer as mt
from mutransfer.pytorch import _record
from mutransfer.pytorch._record import record_program
from mutransfer.reading import Operation, Program, Ref

ROWS, TOKENS = (
    torch.randn(2, 5, generator=torch.Generator().manual_seed(1)),
    torch.ones(2, 8).long(),
)


class Plain(nn.Module):
    """A linear layer and a function of it."""

    def __init__(self, function: Callable[..., Any] = torch.relu, width: int = 5) -> None:
        super().__init__()
        self.inner, self.function = nn.Linear(5, width), function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.inner(x))


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2 + 1

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        return grad[0] * 2


def names(program: Program) -> list[str]:
    return [operation.name for operation in program.operations]


def only(program: Program, name: str) -> Operation:
    (found,) = [operation for operation in program.operations if operation.name == name]
    return found


def test_a_linear_layer_is_a_matrix_product() -> None:
    program = record_program(nn.Linear(5, 3), ROWS)
    product = only(program, "addmm")
    assert names(program) == ["t", "addmm"]
    assert [program.values[i].name for i in product.inputs] == ["bias", "", ""]
    assert only(program, "t").inputs == (program.parameters["weight"],)
    assert [program.values[i].shape for i in program.outputs] == [(2, 3)]
    assert program.outputs == product.results


@pytest.mark.parametrize("function", [F.softmax, torch.cumsum, torch.sum])
def test_numbers_are_arguments(function: Callable[..., Tensor]) -> None:
    program = record_program(Plain(lambda x: function(x, 1)), ROWS)
    last = program.operations[-1]
    dimension = last.arguments[1]
    assert dimension in (1, (1,))
    assert isinstance(last.arguments[0], Ref)


def test_arguments_are_plain_data() -> None:
    def odd(x: Tensor) -> Tensor:
        y = x.to(torch.float64).new_zeros(3, device="cpu").expand(2, 3)
        z = x.double().contiguous(memory_format=torch.contiguous_format)
        return F.pad(z[:, :3] + y, (0, 1)).to("cpu", torch.float16, non_blocking=True)

    program = record_program(Plain(odd), ROWS)
    assert only(program, "constant_pad_nd").arguments[1:] == ((0, 1), 0.0)
    copies = [op.keywords for op in program.operations if op.name == "_to_copy"]
    assert copies == [{"dtype": "float64"}, {"dtype": "float64"}, {"dtype": "float16"}]
    assert pickle.loads(pickle.dumps(program)) == program


def test_operations_on_constants_are_one_constant() -> None:
    def masked(x: Tensor) -> Tensor:
        mask = torch.full((5, 5), float("-inf")).triu(1) + torch.eye(5) * 3
        return x @ mask.exp()

    program = record_program(Plain(masked), ROWS)
    assert names(program) == ["t", "addmm", "mm"]
    constant = program.values[program.operations[-1].inputs[1]]
    entries = torch.tensor([torch.e**3] * 5 + [1.0] * 10)
    assert constant.kind == "constant"
    expected = entries.square().mean().sqrt(), entries.mean(), entries.max()
    assert constant.magnitude == pytest.approx([float(x) for x in expected])


def test_buffers_are_constants_with_a_name() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model[1].running_mean.fill_(2.0)
    program = record_program(model, ROWS)
    found = {v.name: v.magnitude for v in program.values if v.kind == "constant"}
    assert found == {"1.running_mean": (2.0, 2.0, 2.0), "1.running_var": (1.0, 1.0, 1.0)}


def test_whole_numbers_have_no_magnitude() -> None:
    program = record_program(Plain(lambda x: x[:, torch.arange(3)]), ROWS)
    (positions,) = [value for value in program.values if value.kind == "constant"]
    assert (positions.is_float, positions.magnitude) == (False, None)


def test_random_numbers_are_constants_of_one_seed() -> None:
    def noisy(x: Tensor) -> Tensor:
        drawn = np.random.rand() + random.random()
        return x + torch.randn(5) + torch.rand_like(x) * torch.empty_like(x).normal_() * drawn

    programs = []
    for seed in range(3):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        programs.append(record_program(Plain(noisy), ROWS))
    assert names(programs[0]) == ["t", "addmm", "add", "add"]
    assert programs[0] == programs[1] == programs[2]


def test_fresh_memory_is_not_read() -> None:
    torch.full((64, 64), 7.0)  # what is left in memory
    program = record_program(Plain(lambda x: x + torch.empty(5) * 0 + torch.empty_like(x)), ROWS)
    assert {v.magnitude for v in program.values if v.kind == "constant"} == {None}


def test_stochastic_layers_in_python_do_not_depend_on_the_seed() -> None:
    class Dropped(Plain):
        def forward(self, x: Tensor) -> Tensor:
            for _ in range(8):
                x = x if random.random() < 0.3 else self.inner(x)
            return x

    found = []
    for seed in range(6):
        random.seed(seed)
        found.append(names(record_program(Dropped(), ROWS)))
    assert all(each == found[0] for each in found)


def test_tied_parameters_have_their_first_name() -> None:
    model = nn.Sequential(nn.Embedding(16, 4), nn.Linear(4, 16, bias=False))
    model[1].weight = model[0].weight
    assert list(record_program(model, TOKENS).parameters) == ["0.weight"]


def test_modules_put_out_values_call_by_call() -> None:
    @dataclass
    class Output:
        first: Tensor
        others: dict[str, Any]

    class Twice(Plain):
        def forward(self, x: Tensor) -> Output:
            once = self.inner(x)
            return Output(once, {"second": (self.inner(once), 3), "constant": torch.ones(3)})

    program = record_program(nn.Sequential(Twice()), ROWS)
    first, second = program.modules["0.inner"]
    assert program.modules["0"] == program.modules[""] == ((*first, *second, program.outputs[2]),)
    assert program.outputs[:2] == (*first, *second)
    assert program.values[program.outputs[2]].magnitude == (1.0, 1.0, 1.0)
    assert {operation.module for operation in program.operations} == {"0.inner"}


def test_modules_of_other_threads_are_left_out() -> None:
    other = Plain()

    def threaded(x: Tensor) -> Tensor:
        thread = threading.Thread(target=lambda: (other(ROWS), model.inner(ROWS)))
        thread.start()
        thread.join()
        return torch.relu(x)

    model = Plain(threaded)
    program = record_program(model, ROWS)
    assert names(program) == ["t", "addmm", "relu"]
    assert {name: len(calls) for name, calls in program.modules.items()} == {"inner": 1, "": 1}


def test_a_call_that_failed_and_was_caught_leaves_no_trace() -> None:
    class Caught(Plain):
        def forward(self, x: Tensor) -> Tensor:
            with pytest.raises(RuntimeError):
                self.inner(x[:, :2])
            return self.inner(x).exp()

    program = record_program(nn.Sequential(Caught()), ROWS)
    assert program.operations[-1].module == "0"


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_names_are_without_wrappers() -> None:
    program = record_program(nn.Sequential(torch.compile(Plain())), ROWS)
    assert set(program.parameters) == {"0.inner.weight", "0.inner.bias"}
    assert {name: len(calls) for name, calls in program.modules.items()} == {
        "0.inner": 1,
        "0": 1,
        "": 1,
    }


def test_replicas_are_read_as_one() -> None:
    program = record_program(nn.DataParallel(Plain()), ROWS)
    assert set(program.parameters) == {"module.inner.weight", "module.inner.bias"}


def test_jagged_tensors_show_the_operations_on_their_values() -> None:
    def jagged(x: Tensor) -> Tensor:
        rows = torch.nested.nested_tensor_from_jagged(x, torch.tensor([0, 1, 2]))
        return torch.sin(rows)

    assert "sin" in names(record_program(Plain(jagged), ROWS))


def test_transforms_within_the_model_are_recorded() -> None:
    def slope(x: Tensor) -> Tensor:
        once = torch.autograd.grad(x.sin().sum(), x, create_graph=True)[0]
        return once + torch.func.vmap(lambda row: row.exp())(x)

    found = names(record_program(Plain(slope), ROWS))
    assert {"sin", "cos", "exp"} <= set(found)


def test_autograd_functions_show_their_forward_pass() -> None:
    assert names(record_program(Plain(Doubled.apply), ROWS)) == ["t", "addmm", "mul", "add"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_show_their_operations(reentrant: bool) -> None:
    class Checkpointed(Plain):
        def forward(self, x: Tensor) -> Any:
            y = self.inner(x)
            return y + checkpoint(self.function, y, use_reentrant=reentrant)

    program = record_program(Checkpointed(nn.Linear(5, 5)), ROWS)
    expected = ["t", "addmm", "t", "addmm", "add"]
    assert [name for name in names(program) if name not in ("detach", "alias")] == expected
    assert "function.weight" in program.parameters


def test_composite_operations_arrive_decomposed() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 3, 8)
    found = Counter(names(record_program(attention, (x, x, x))))
    assert (found["bmm"] + found["baddbmm"], found["_softmax"]) == (2, 1)
    lstm = Counter(names(record_program(nn.LSTM(4, 4), torch.randn(3, 2, 4))))
    assert (lstm["sigmoid"], lstm["tanh"], lstm["write"]) == (9, 6, 0)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_fused_transformer_layer_is_off(frozen: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).requires_grad_(not frozen)
    hidden = torch.zeros(2, 3, dtype=torch.bool)
    hidden[0, 2] = True
    inputs = {"src": torch.randn(2, 3, 8), "src_key_padding_mask": hidden}
    assert Counter(names(record_program(model, inputs)))["native_layer_norm"] == 4


def test_flex_attention_is_two_products_of_matrices() -> None:
    def attend(x: Tensor) -> Tensor:
        heads = x.view(2, 1, 5, 16)
        return flex_attention(heads, heads, heads)

    program = record_program(Plain(attend, 80), ROWS)
    assert names(program).count("bmm") == 2


def test_tensors_made_in_inference_mode_are_read() -> None:
    with torch.inference_mode():
        model = Plain(lambda x: torch.einsum("bi,bi->b", x, x))
    assert "addmm" in names(record_program(model, ROWS))
    with torch.inference_mode():
        assert names(record_program(Plain(), ROWS)) == ["t", "addmm", "relu"]


def test_autocast_within_the_model_is_recorded() -> None:
    def cast(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return x @ x.t()

    assert names(record_program(Plain(cast), ROWS)).count("_to_copy") == 2
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "_to_copy" not in names(record_program(Plain(), ROWS))


def test_values_can_be_looked_into() -> None:
    def sampled(x: Tensor) -> Tensor:
        policy = torch.distributions.Categorical(logits=x)
        action = policy.sample()
        return policy.log_prob(action) if float(x.abs().max()) > 0 else x

    assert record_program(Plain(sampled), ROWS).outputs


def test_training_mode_has_no_dropout() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.drop = nn.MultiheadAttention(8, 2, dropout=0.5), nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.drop(x), 0.3, self.training)
            return self.attention(x, x, x, need_weights=False)[0]

    model = Noisy()
    program = record_program(model, torch.randn(3, 2, 8), training=True)
    assert program.is_training
    assert names(program) == names(record_program(model.eval(), torch.randn(3, 2, 8)))
    assert (model.attention.dropout, model.drop.p) == (0.5, 0.5)


def meta(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to("meta")


def models() -> dict[str, tuple[nn.Module, Tensor]]:
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten())
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    return {
        "convolutions": (convolutions, torch.randn(2, 3, 8, 8)),
        "encoder": (encoder, torch.randn(2, 3, 8)),
        "lstm": (nn.LSTM(4, 4), torch.randn(3, 2, 4)),
    }


@pytest.mark.parametrize("name", models())
def test_parameters_without_numbers_give_the_same_program(name: str) -> None:
    model, inputs = models()[name]
    assert record_program(meta(model), inputs) == record_program(model, inputs)
    assert all(p.is_meta for p in meta(model).parameters())


@pytest.mark.parametrize("way", [_record._hollow, _record._fake])
@pytest.mark.parametrize("name", models())
def test_shapes_alone_give_the_same_program(
    name: str, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = models()[name]
    expected = record_program(model, inputs)
    if (name, way) == ("lstm", _record._hollow):
        pytest.skip("its hidden state and its parameters have to be on one device")
    monkeypatch.setattr(_record, "_ways", lambda model, tries: [way])
    assert record_program(model, inputs) == expected
    assert record_program(meta(model), inputs) == expected


def test_masks_keep_their_numbers_on_shapes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def masked(x: Tensor) -> Tensor:
        mask = torch.ones(5, 5, device=x.device).tril().to(x)
        return x @ mask if bool((mask.sum(-1) == 5).any()) else x

    expected = record_program(Plain(masked), ROWS)
    assert expected.values[expected.operations[-1].inputs[1]].magnitude == (1.0, 1.0, 1.0)
    for way in (_record._hollow, _record._fake):
        monkeypatch.setattr(_record, "_ways", lambda model, tries, way=way: [way])
        assert record_program(Plain(masked), ROWS) == expected


def test_numbers_of_stand_ins_do_not_count() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).to("meta")
    program = record_program(model, ROWS)
    assert {v.magnitude for v in program.values if v.kind == "constant"} == {None}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_every_type_run(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Linear(62, 2)).to(dtype)
    assert {"convolution", "relu"} <= set(names(record_program(model)))
    # Inputs of another type than the model's are adapted.
    assert "convolution" in names(record_program(model, torch.randn(2, 3, 64)))


def test_a_failure_names_the_module_and_a_way_out() -> None:
    def broken(x: Tensor) -> Tensor:
        raise KeyError("no such thing")

    model = nn.Sequential(nn.Linear(5, 5), Plain(broken))
    message = (
        r"the forward pass of Sequential failed in 1 .*no such thing.*example_inputs=.*branches="
    )
    with pytest.raises(mt.MutransferError, match=message) as caught:
        record_program(model, ROWS)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_model_for_gpus_alone_is_explained() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(mt.MutransferError, match="must not ask for a GPU"):
        record_program(Plain(lambda x: x.cuda()), ROWS)


def test_lazy_modules_have_to_be_called_once() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(mt.MutransferError, match="call the model once on a batch"):
        record_program(model, ROWS)
    assert isinstance(model[0].weight, nn.UninitializedParameter)
