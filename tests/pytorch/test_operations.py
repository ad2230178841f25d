"""A plan survives whatever is done to a model between planning and training.

Every test does what a user does: plan, initialise, do something to the model, make groups, train.
"""

import copy
import pickle
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import mutransfer as mt
from tests.models import Attention, TwoMatrices, embedded, framed
from tests.pytorch.lifecycle import (
    MODELS,
    ROWS,
    TOKENS,
    assert_close,
    checkpointed,
    hyperparameters,
    loss,
    new,
    plan_of,
    planned,
    reference,
    retied,
    through_bytes,
    train,
    trained,
    uses,
    values,
)


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


every_model = pytest.mark.parametrize("kind", MODELS)
two_models = pytest.mark.parametrize("kind", ["tied gpt", "mlp"])


def loaded(model: nn.Module, into: Callable[[nn.Module], nn.Module], assign: bool) -> nn.Module:
    other = into(new(model))
    other.load_state_dict(through_bytes(model.state_dict(), True), assign=assign)
    return retied(other, model)


def on_meta(model: nn.Module) -> nn.Module:
    return model.to("meta")


def emptied(model: nn.Module) -> nn.Module:
    return model.to("meta").to_empty(device="cpu")


def frozen_and_thawed(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False).requires_grad_(True)


def checkpoint_wrapped(model: nn.Module) -> nn.Module:
    blocks = getattr(model, "blocks", getattr(model, "hidden", None))
    for i, block in enumerate(blocks):
        blocks[i] = checkpoint_wrapper(block)
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager", fullgraph=True)
    return model


def exported(model: nn.Module) -> nn.Module:
    x = TOKENS if hasattr(model, "token") else ROWS
    return torch.export.export(model, (x,)).module()


def half_and_back(model: nn.Module) -> nn.Module:
    return loaded(model, lambda other: other.half().double(), False)


COMPILE = partial(torch.compile, backend="eager", fullgraph=True)


OPERATIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "deepcopy of a deepcopy": lambda model: copy.deepcopy(copy.deepcopy(model)),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": lambda model: through_bytes(model, False),
    "EMA": AveragedModel,
    "EMA's module": lambda model: AveragedModel(model).module,
    "state_dict": lambda model: loaded(model, lambda other: other, False),
    "state_dict, assign": lambda model: loaded(model, lambda other: other, True),
    "state_dict, assign to meta": lambda model: loaded(model, on_meta, True),
    "state_dict to to_empty": lambda model: loaded(model, emptied, False),
    "freeze and thaw": frozen_and_thawed,
    "float and double": lambda model: model.to(torch.float64),
    "half and back by state": half_and_back,
    "compile, eager": COMPILE,
    "compile, aot_eager": partial(torch.compile, backend="aot_eager", fullgraph=True),
    "compile in place": compiled_in_place,
    "compile of a deepcopy": lambda model: COMPILE(copy.deepcopy(model)),
    "deepcopy of a compiled": lambda model: copy.deepcopy(COMPILE(model)),
    "export": exported,
    "gradient checkpointing": checkpointed,
    "gradient checkpointing, reentrant": partial(checkpointed, use_reentrant=True),
    "checkpoint_wrapper": checkpoint_wrapped,
    "data parallel": nn.DataParallel,
    "EMA of data parallel": lambda model: AveragedModel(nn.DataParallel(model)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@two_models
def test_operations_on_an_initialised_model_leave_it_planned(
    kind: str, operation: Callable[[nn.Module], nn.Module]
) -> None:
    model, plan = planned(kind)
    before, initialised = hyperparameters(plan, model), values(model)
    other = operation(model)
    assert hyperparameters(plan, other) == before
    assert all(torch.equal(a, b) for a, b in zip(values(other), initialised, strict=True))
    assert_close(trained(other, plan, kind), reference(kind))


NEW_VALUES = {"state_dict to to_empty", "state_dict, assign to meta", "export"}


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in NEW_VALUES])
@two_models
def test_a_model_may_be_initialised_after_an_operation(kind: str, operation: str) -> None:
    model, plan = planned(kind, initialize=False)
    other = OPERATIONS[operation](model)
    plan.initialize(other)
    assert_close(trained(other, plan, kind), reference(kind))


WRAPPERS = {"data parallel", "EMA of data parallel", "EMA"}
UNPLANNED = WRAPPERS | {"export"}


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in UNPLANNED])
@two_models
def test_a_model_may_be_planned_after_an_operation(kind: str, operation: str) -> None:
    torch.manual_seed(1)
    make, x = MODELS[kind]
    model, base = make(2), make(1)
    assert mt.plan(OPERATIONS[operation](model), base, example_inputs=x) == plan_of(kind, "adamw")


@pytest.mark.parametrize("operation", sorted(WRAPPERS))
@two_models
def test_planning_a_wrapper_gives_the_models_plan_or_says_so(kind: str, operation: str) -> None:
    """The refusal names the wrapper, and not the names that are not the base's."""
    torch.manual_seed(1)
    make, x = MODELS[kind]
    model, base = make(2), make(1)
    try:
        again = mt.plan(OPERATIONS[operation](model), base, example_inputs=x)
    except mt.MutransferError as error:
        assert "plan the model" in str(error) or "wrap" in str(error), error
    else:
        assert again == plan_of(kind, "adamw")


@pytest.mark.parametrize("reentrant", [False, True])
@two_models
def test_checkpointing_both_changes_nothing(kind: str, reentrant: bool) -> None:
    """A pass is read below autograd, whose graph ends at a reentrant checkpoint."""
    torch.manual_seed(1)
    make, x = MODELS[kind]
    model, base = (checkpointed(make(times), reentrant) for times in (2, 1))
    assert mt.plan(model, base, example_inputs=x) == plan_of(kind, "adamw")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("fullgraph", [True, False])
def test_planning_sees_into_a_compiled_model(backend: str, fullgraph: bool) -> None:
    """The model's own code runs, and not the compiled one."""

    def build(width: int) -> nn.Module:
        layer = TwoMatrices(width, norm=None, joined=True)
        return embedded(width, lambda m, x: m.head(m.norm(m.layer(m.token(x)))), layer=layer)

    model, base = build(32), build(16)
    compiled = partial(torch.compile, backend=backend, fullgraph=fullgraph)
    plan = mt.plan(model, base, example_inputs=TOKENS)
    for other in (base, compiled(base)):
        assert mt.plan(compiled(model), other, example_inputs=TOKENS) == plan


def grouped(heads: int, **how: bool) -> nn.Module:
    """Build attention with one head of keys and values, checkpointed or not."""
    width = 8 * heads
    block = Attention(width, 1, "expand", bias=True, joined=True)
    if how:
        block.forward = partial(checkpoint, block.forward, **how)
    return framed(width, block, nn.LayerNorm(width))


def test_checkpointing_changes_no_role() -> None:
    x = torch.zeros(2, 4, 5)
    plan = mt.plan(grouped(4), grouped(2), example_inputs=x)
    roles = {name: tensor.role for name, tensor in plan.tensors.items()}
    assert roles["1.key.weight"] == "key-value"
    for reentrant in (False, True):
        pair = (grouped(heads, use_reentrant=reentrant) for heads in (4, 2))
        again = mt.plan(*pair, example_inputs=x)
        assert {name: tensor.role for name, tensor in again.tensors.items()} == roles


UNTYING = {
    "load_state_dict(assign=True)": lambda model: model.load_state_dict(
        model.state_dict(), assign=True
    ),
    "to_empty": lambda model: model.to("meta").to_empty(device="cpu"),
}


@pytest.mark.parametrize("operation", UNTYING.values(), ids=UNTYING)
def test_a_tie_that_an_operation_broke_is_noticed(operation: Callable[[nn.Module], object]) -> None:
    """Both operations make two parameters of one, which would be updated apart."""
    model, plan = planned("tied gpt")
    operation(model)
    assert model.head.weight is not model.token.weight
    for use in uses(plan):
        with pytest.raises(mt.MutransferError, match=r"head\.weight"):
            use(model)


def test_a_copied_tie_is_a_tie() -> None:
    model, plan = planned("tied gpt")
    for other in (
        copy.deepcopy(model),
        AveragedModel(model).module,
        pickle.loads(pickle.dumps(model)),
    ):
        assert other.head.weight is other.token.weight is not model.token.weight
        parameters = [p for group in plan.param_groups(other, 0.1) for p in group["params"]]
        assert sum(p is other.token.weight for p in parameters) == 1 and len(parameters) == len(
            plan.tensors
        )


@every_model
def test_train_and_eval_give_equal_outputs(kind: str) -> None:
    model, plan = planned(kind)
    x = MODELS[kind][1]
    assert torch.equal(model.train()(x), model.eval()(x))
    train(model, torch.optim.AdamW(plan.param_groups(model, 0.05)), kind)
    assert torch.equal(model.train()(x), model.eval()(x))


@every_model
def test_functional_call_takes_new_tensors(kind: str) -> None:
    model, plan = planned(kind)
    x = MODELS[kind][1]
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert torch.equal(functional_call(model, tensors, (x,)), model(x))
    gradients = torch.func.grad(
        lambda tensors: loss(lambda x: functional_call(model, tensors, (x,)), kind)
    )(tensors)
    loss(model, kind).backward()
    assert_close(gradients, {name: p.grad for name, p in model.named_parameters()})
    assert gradients.keys() == plan.tensors.keys()


@two_models
def test_export_gives_the_planned_outputs(kind: str) -> None:
    model, _ = planned(kind)
    x = MODELS[kind][1]
    torch.testing.assert_close(
        torch.export.export(model, (x,)).module()(x), model(x), rtol=1e-12, atol=1e-12
    )
