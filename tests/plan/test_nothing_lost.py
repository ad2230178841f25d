"""A plan survives whatever is done to a model between planning and training: values, factors and training stay those of the plan.

Every test does what a user does: plan, initialise, do something to the model or the plan, make parameter groups, train.
"""

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import remove_parametrizations
from torch.optim.swa_utils import AveragedModel
from torch.serialization import get_unsafe_globals_in_checkpoint
from torch.utils.checkpoint import checkpoint

from mutransfer._errors import MutransferError
from mutransfer.plan import Plan, plan
from mutransfer.tasks._models import GPT, gpt, mlp

TOKENS = torch.randint(11, (4, 6), generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HYPERPARAMETERS = {"eps": 1e-2, "weight_decay": 0.5}
"""At which both matter to every step."""


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def new_gpt(scale: int, tied: bool) -> nn.Module:
    """Heads grow in size, so that queries carry a factor; the branches' last tensors and the norm before a tied head do so too."""
    return gpt(16 * scale, scale, heads=2, vocabulary=11, context=6, tied=tied).double()


MODELS: dict[str, tuple[Callable[[int], nn.Module], Tensor]] = {
    "gpt": (partial(new_gpt, tied=False), TOKENS),
    "tied gpt": (partial(new_gpt, tied=True), TOKENS),
    "mlp": (lambda scale: mlp(8 * scale, 3, inputs=6, outputs=3).double(), ROWS),
}
every_model = pytest.mark.parametrize("kind", MODELS)
two_models = pytest.mark.parametrize("kind", ["tied gpt", "mlp"])


@cache
def plan_of(kind: str, optimizer: str) -> Plan:
    torch.manual_seed(1)
    make, x = MODELS[kind]
    return plan(make(2), make(1), optimizer=optimizer, example_inputs=x)


def planned(kind: str, optimizer: str = "adamw", initialize: bool = True) -> tuple[nn.Module, Plan]:
    """A model with its plan: the same for each call."""
    torch.manual_seed(0)
    model, own = MODELS[kind][0](2), plan_of(kind, optimizer)
    if initialize:
        own.initialize(model)
    return model, own


def loss(model: Callable[[Tensor], Tensor], kind: str) -> Tensor:
    logits = model(MODELS[kind][1]).flatten(0, -2)
    return F.cross_entropy(logits.double(), torch.arange(len(logits)) % logits.shape[-1])


def train(model: nn.Module, optimizer: torch.optim.Optimizer, kind: str, steps: int = 3) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model, kind).backward()
        optimizer.step()


def trained(model: nn.Module, own: Plan, kind: str, lr: float | Tensor = 0.05) -> dict[str, Tensor]:
    """The values of the planned tensors after a few steps with the plan's groups."""
    groups = own.param_groups(model, lr, **HYPERPARAMETERS)
    found = {name: p for group in groups for name, p in zip(group["names"], group["params"], strict=True)}
    train(model, torch.optim.AdamW(groups), kind)
    return {name: found[name].detach() for name in own.tensors}


@cache
def reference(kind: str) -> dict[str, Tensor]:
    """What training gives where nothing was done between planning and it."""
    return trained(*planned(kind), kind)


def values(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def factors(own: Plan, model: nn.Module) -> dict[str, tuple[float, ...]]:
    groups = own.param_groups(model, 0.05, **HYPERPARAMETERS)
    return {name: tuple(group[q] for q in ("lr", "eps", "weight_decay", "lr_factor")) for group in groups for name in group["names"]}


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


def through_bytes(thing: object, weights_only: bool) -> object:
    file = io.BytesIO()
    torch.save(thing, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=weights_only)


def new(model: nn.Module) -> nn.Module:
    """A model of the same sizes with other values."""
    kind = ("tied gpt" if model.head.weight is model.token.weight else "gpt") if isinstance(model, GPT) else "mlp"
    return MODELS[kind][0](2)


def retied(model: nn.Module, like: nn.Module) -> nn.Module:
    if isinstance(like, GPT) and like.head.weight is like.token.weight:
        model.head.weight = model.token.weight
    return model


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


def checkpointed(model: nn.Module, use_reentrant: bool = False) -> nn.Module:
    for block in getattr(model, "blocks", getattr(model, "hidden", ())):
        block.forward = partial(checkpoint, block.forward, use_reentrant=use_reentrant)
    return model


def checkpoint_wrapped(model: nn.Module) -> nn.Module:
    for blocks in (getattr(model, "blocks", getattr(model, "hidden", None)),):
        for i, block in enumerate(blocks):
            blocks[i] = checkpoint_wrapper(block)
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager", fullgraph=True)
    return model


def exported(model: nn.Module) -> nn.Module:
    x = TOKENS if isinstance(model, GPT) else ROWS
    return torch.export.export(model, (x,)).module()


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
    "half and back by state": lambda model: loaded(model, lambda other: other.half().double(), False),
    "compile, eager": partial(torch.compile, backend="eager", fullgraph=True),
    "compile, aot_eager": partial(torch.compile, backend="aot_eager", fullgraph=True),
    "compile in place": compiled_in_place,
    "compile of a deepcopy": lambda model: torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True),
    "deepcopy of a compiled": lambda model: copy.deepcopy(torch.compile(model, backend="eager", fullgraph=True)),
    "export": exported,
    "gradient checkpointing": checkpointed,
    "gradient checkpointing, reentrant": partial(checkpointed, use_reentrant=True),
    "checkpoint_wrapper": checkpoint_wrapped,
    "data parallel": nn.DataParallel,
    "EMA of data parallel": lambda model: AveragedModel(nn.DataParallel(model)),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@two_models
def test_what_is_done_to_an_initialised_model_leaves_it_planned(kind: str, operation: Callable[[nn.Module], nn.Module]) -> None:
    model, own = planned(kind)
    before, initialised = factors(own, model), values(model)
    other = operation(model)
    assert factors(own, other) == before
    assert all(torch.equal(a, b) for a, b in zip(values(other), initialised, strict=True))
    assert_close(trained(other, own, kind), reference(kind))


NEW_VALUES = {"state_dict to to_empty", "state_dict, assign to meta", "export"}


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in NEW_VALUES])
@two_models
def test_a_model_may_be_initialised_after_it(kind: str, operation: str) -> None:
    model, own = planned(kind, initialize=False)
    other = OPERATIONS[operation](model)
    own.initialize(other)
    assert_close(trained(other, own, kind), reference(kind))


WRAPPERS = {"data parallel", "EMA of data parallel", "EMA"}


@pytest.mark.parametrize(
    "operation", [name for name in OPERATIONS if name not in WRAPPERS | {"gradient checkpointing, reentrant", "export"}]
)
@two_models
def test_a_model_may_be_planned_after_it(kind: str, operation: str) -> None:
    torch.manual_seed(1)
    make, x = MODELS[kind]
    model, base = make(2), make(1)
    assert plan(OPERATIONS[operation](model), base, example_inputs=x) == plan_of(kind, "adamw")


@pytest.mark.parametrize("operation", sorted(WRAPPERS))
@two_models
def test_planning_a_wrapper_gives_the_models_plan_or_says_so(kind: str, operation: str) -> None:
    """A wrapper's names are not the base's: the refusal must say that, and not that the sizes differ."""
    torch.manual_seed(1)
    make, x = MODELS[kind]
    model, base = make(2), make(1)
    try:
        again = plan(OPERATIONS[operation](model), base, example_inputs=x)
    except MutransferError as error:
        assert "plan the model" in str(error) or "wrap" in str(error), error
    else:
        assert again == plan_of(kind, "adamw")


def test_reentrant_checkpointing_hides_the_graph_and_is_refused_when_planned() -> None:
    """The autograd graph ends at the checkpoint, so neither branches nor queries can be read: a plan would be a guess."""
    make, x = MODELS["tied gpt"]
    with pytest.raises(MutransferError, match="use_reentrant=False"):
        plan(checkpointed(make(2), True), checkpointed(make(1), True), example_inputs=x)


class TiedResidual(nn.Module):
    """Nothing in it breaks a compiled graph: all of it becomes one node of the autograd graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token, self.up, self.down = nn.Embedding(11, width), nn.Linear(width, width), nn.Linear(width, width)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 11, bias=False)
        self.head.weight = self.token.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens)
        return self.head(self.norm(x + self.down(F.gelu(self.up(x)))))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("fullgraph", [True, False])
def test_planning_sees_into_a_compiled_model(backend: str, fullgraph: bool) -> None:
    model, base = TiedResidual(32), TiedResidual(16)
    compiled = partial(torch.compile, backend=backend, fullgraph=fullgraph)
    own = plan(model, base, example_inputs=TOKENS)
    assert plan(compiled(model), base, example_inputs=TOKENS) == plan(compiled(model), compiled(base), example_inputs=TOKENS) == own


class Grouped(nn.Module):
    """A pre-norm block whose number of keys and values does not grow."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(8 * heads), heads
        self.query, self.out = nn.Linear(8 * heads, 8 * heads), nn.Linear(8 * heads, 8 * heads)
        self.key, self.value = nn.Linear(8 * heads, 8), nn.Linear(8 * heads, 8)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        query = self.query(normed).unflatten(-1, (self.heads, -1)).transpose(-3, -2)
        key, value = (layer(normed).unsqueeze(-3).expand_as(query) for layer in (self.key, self.value))
        return x + self.out(F.scaled_dot_product_attention(query, key, value).transpose(-3, -2).flatten(-2))


def grouped(heads: int, **how: bool) -> nn.Module:
    model = nn.Sequential(nn.Linear(5, 8 * heads), Grouped(heads), nn.LayerNorm(8 * heads), nn.Linear(8 * heads, 3))
    if how:
        model[1].forward = partial(checkpoint, model[1].forward, **how)
    return model


def test_checkpointing_changes_no_role() -> None:
    x = torch.zeros(2, 4, 5)
    own = plan(grouped(4), grouped(2), example_inputs=x)
    assert plan(grouped(4, use_reentrant=False), grouped(2, use_reentrant=False), example_inputs=x).tensors.keys() == own.tensors.keys()
    roles = {name: tensor.role for name, tensor in own.tensors.items()}
    for reentrant in (False, True):
        try:
            again = plan(grouped(4, use_reentrant=reentrant), grouped(2, use_reentrant=reentrant), example_inputs=x)
        except MutransferError:
            assert reentrant
        else:
            assert {name: tensor.role for name, tensor in again.tensors.items()} == roles


PLANS: dict[str, Callable[[Plan], Plan]] = {
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "pickle": lambda own: pickle.loads(pickle.dumps(own)),
    "json": lambda own: Plan.from_json(own.to_json()),
    "torch.save": lambda own: through_bytes(own, False),
    "torch.save of json": lambda own: Plan.from_json(through_bytes({"plan": own.to_json()}, True)["plan"]),
}


@pytest.mark.parametrize("operation", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@every_model
def test_a_plan_is_data(kind: str, optimizer: str, operation: Callable[[Plan], Plan]) -> None:
    model, own = planned(kind, optimizer)
    again = operation(own)
    assert again == own and str(again) == str(own) and again.to_json() == own.to_json()
    model, drawn = MODELS[kind][0](2), MODELS[kind][0](2)
    drawn.load_state_dict(model.state_dict())
    own.initialize(model)
    again.initialize(drawn)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), drawn.parameters(), strict=True))
    groups = own.param_groups(model, 0.1), again.param_groups(drawn, 0.1)
    assert [group["lr"] for group in groups[0]] == [group["lr"] for group in groups[1]]


@every_model
def test_model_and_plan_copied_together_belong_together(kind: str) -> None:
    model, own = copy.deepcopy(planned(kind))
    assert_close(trained(model, own, kind), reference(kind))


@every_model
def test_nothing_is_put_into_the_model(kind: str) -> None:
    """A saved model names no class of the plan, and its tensors and modules have no attributes that a new one has not."""
    model, own = planned(kind)
    own.param_groups(model, 0.1)
    fresh = MODELS[kind][0](2)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    assert not [name for name in get_unsafe_globals_in_checkpoint(file) if name.startswith("mutransfer.plan")]
    assert model.state_dict().keys() == fresh.state_dict().keys()
    for own_module, other in zip(model.modules(), fresh.modules(), strict=True):
        assert type(own_module) is type(other) and own_module.__dict__.keys() == other.__dict__.keys()
        assert not own_module._forward_hooks and not own_module._forward_pre_hooks and not own_module._backward_hooks
    for parameter in model.parameters():
        assert type(parameter) is nn.Parameter and not parameter.__dict__ and not parameter._backward_hooks


@every_model
def test_a_checkpoint_of_state_and_plan_loads_with_weights_only(kind: str) -> None:
    model, own = planned(kind)
    saved = through_bytes({"model": model.state_dict(), "plan": own.to_json()}, True)
    other = MODELS[kind][0](2)
    other.load_state_dict(saved["model"])
    assert_close(trained(other, Plan.from_json(saved["plan"]), kind), reference(kind))


UNTYING = {
    "load_state_dict(assign=True)": lambda model: model.load_state_dict(model.state_dict(), assign=True),
    "to_empty": lambda model: model.to("meta").to_empty(device="cpu"),
}


@pytest.mark.parametrize("operation", UNTYING.values(), ids=UNTYING)
def test_a_tie_that_an_operation_broke_is_noticed(operation: Callable[[nn.Module], object]) -> None:
    """Both make two parameters of one, which an optimizer would update twice, or apart."""
    model, own = planned("tied gpt")
    operation(model)
    assert model.head.weight is not model.token.weight
    for use in (own.initialize, partial(own.param_groups, lr=0.1), partial(own.clip_grad_norm_, max_norm=1.0)):
        with pytest.raises(MutransferError, match=r"head\.weight"):
            use(model)


def test_a_copied_tie_is_a_tie() -> None:
    model, own = planned("tied gpt")
    for other in (copy.deepcopy(model), AveragedModel(model).module, pickle.loads(pickle.dumps(model))):
        assert other.head.weight is other.token.weight is not model.token.weight
        parameters = [p for group in own.param_groups(other, 0.1) for p in group["params"]]
        assert sum(p is other.token.weight for p in parameters) == 1 and len(parameters) == len(own.tensors)


@every_model
def test_deferred_initialisation(kind: str) -> None:
    """Plan on meta, then to_empty, reset_parameters and plan.initialize: the same draw gives the same model as one that had values."""
    make, x = MODELS[kind]
    base = make(1)
    with torch.device("meta"):
        deferred = make(2)
    own = plan(deferred, base, example_inputs=x)
    with pytest.raises(MutransferError, match="meta"):
        own.initialize(deferred)
    real = make(2)
    assert plan(real, base, example_inputs=x) == own
    deferred = retied(deferred.to_empty(device="cpu"), real)
    for model in (deferred, real):
        torch.manual_seed(2)
        for module in model.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
            if kind == "mlp" and isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        own.initialize(model)
    for tensor in own.tensors.values():
        together = torch.cat([deferred.get_parameter(each).detach().flatten() for each in tensor.run])
        if tensor.base_rms and together.any():
            assert together.square().mean().sqrt().item() == pytest.approx(tensor.base_rms * tensor.factor("init"), rel=1e-12)
    assert all(torch.equal(a, b) for a, b in zip(deferred.parameters(), real.parameters(), strict=True))
    assert_close(trained(deferred, own, kind), trained(real, own, kind))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@two_models
def test_another_type_after_initialize(kind: str, dtype: torch.dtype) -> None:
    """Values are the rounded ones, and training is that with each tensor's own hyperparameters, given by hand."""
    (model, own), (by_hand, _) = planned(kind), planned(kind)
    before = factors(own, model)
    model, by_hand = model.to(dtype), by_hand.to(dtype)
    assert factors(own, model) == before
    assert all(torch.equal(a, b) for a, b in zip(values(model), [p.to(dtype) for p in values(planned(kind)[0])], strict=True))
    groups = [
        {"params": [by_hand.get_parameter(name)], "lr": lr, "eps": eps, "weight_decay": decay}
        for name, (lr, eps, decay, _) in before.items()
    ]
    found = trained_in(dtype, model, own, kind)
    train_in(dtype, by_hand, torch.optim.AdamW(groups), kind)
    assert all(torch.equal(found[name], by_hand.get_parameter(name)) and found[name].isfinite().all() for name in own.tensors)


def train_in(dtype: torch.dtype, model: nn.Module, optimizer: torch.optim.Optimizer, kind: str) -> None:
    x = MODELS[kind][1]
    for _ in range(3):
        optimizer.zero_grad()
        model(x.to(dtype) if x.is_floating_point() else x).float().square().mean().backward()
        optimizer.step()


def trained_in(dtype: torch.dtype, model: nn.Module, own: Plan, kind: str) -> dict[str, Tensor]:
    train_in(dtype, model, torch.optim.AdamW(own.param_groups(model, 0.05, **HYPERPARAMETERS)), kind)
    return {name: model.get_parameter(name) for name in own.tensors}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@two_models
def test_another_type_before_initialize(kind: str, dtype: torch.dtype) -> None:
    (model, own), (wide, _) = planned(kind, initialize=False), planned(kind)
    model = model.to(dtype)
    own.initialize(model)
    precision = 2 * torch.finfo(dtype).eps
    for name, tensor in own.tensors.items():
        assert model.get_parameter(name).dtype == dtype
        torch.testing.assert_close(
            model.get_parameter(name).double(), wide.get_parameter(name), rtol=precision, atol=precision * (tensor.base_rms or 0)
        )
    assert factors(own, model) == factors(own, wide)


@two_models
def test_a_model_of_another_type_has_the_same_plan(kind: str) -> None:
    make, x = MODELS[kind]
    torch.manual_seed(1)
    model, base = make(2), make(1)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        again = plan(copy.deepcopy(model).to(dtype), base, example_inputs=x if kind != "mlp" else x.to(dtype))
        assert again == plan_of(kind, "adamw")


@two_models
def test_a_tensor_rate_trains_as_a_number_and_stays_the_users(kind: str) -> None:
    model, own = planned(kind)
    rate = torch.tensor(0.05, dtype=torch.float64)
    assert_close(trained(model, own, kind, rate), reference(kind))
    assert rate == torch.tensor(0.05, dtype=torch.float64)
    groups = own.param_groups(model, rate)
    groups += own.param_groups(model, rate)
    assert len({id(group["lr"]) for group in groups} | {id(rate)}) == len({group["lr"].data_ptr() for group in groups} | {rate.data_ptr()})
    assert len({group["lr"].data_ptr() for group in groups} | {rate.data_ptr()}) == len(groups) + 1
    groups[0]["lr"].mul_(0)
    assert rate and all(group["lr"] for group in groups[1:])


@two_models
def test_a_tensor_rate_may_be_scheduled(kind: str) -> None:
    runs = []
    for rate in (0.05, torch.tensor(0.05, dtype=torch.float64)):
        model, own = planned(kind)
        optimizer = torch.optim.AdamW(own.param_groups(model, rate, **HYPERPARAMETERS))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
        for _ in range(3):
            train(model, optimizer, kind, 1)
            scheduler.step()
        runs.append(dict(zip(own.tensors, values(model), strict=True)))
        assert rate == 0.05
    assert_close(runs[1], runs[0])


def reversed_modules(model: nn.Module) -> nn.Module:
    """The same model whose modules were registered in another order, and so its parameters."""
    for module in list(model.modules()):
        if not isinstance(module, nn.ModuleList):
            module._modules = dict(reversed(module._modules.items()))
            module._parameters = dict(reversed(module._parameters.items()))
    return model


@pytest.mark.parametrize("kind", ["gpt", "mlp"])
def test_the_order_of_parameters_does_not_matter(kind: str) -> None:
    model, own = planned(kind)
    before = factors(own, model)
    other = reversed_modules(copy.deepcopy(model))
    assert [name for name, _ in other.named_parameters()] != [name for name, _ in model.named_parameters()]
    assert factors(own, other) == before
    assert_close(trained(other, own, kind), reference(kind))
    make, x = MODELS[kind]
    torch.manual_seed(1)
    target, base = make(2), make(1)
    for pair in ((reversed_modules(copy.deepcopy(target)), base), (target, reversed_modules(copy.deepcopy(base)))):
        again = plan(*pair, example_inputs=x)
        assert list(again.tensors) == [name for name, _ in pair[0].named_parameters()]
        for name, tensor in own.tensors.items():
            assert {q: again[name].factor(q) for q in ("init", "lr", "eps", "decay")} == {
                q: tensor.factor(q) for q in ("init", "lr", "eps", "decay")
            }
            assert again[name].base_rms == pytest.approx(tensor.base_rms, rel=1e-12)


def test_the_order_of_parameters_does_not_matter_to_ties() -> None:
    """The head may be registered before the embedding it shares: the tensor then has the head's name, and the same factors."""
    make, x = MODELS["tied gpt"]
    torch.manual_seed(1)
    model, base = (reversed_modules(make(scale)) for scale in (2, 1))
    own, expected = plan(model, base, example_inputs=x), plan_of("tied gpt", "adamw")
    assert "head.weight" in own.tensors and "token.weight" not in own.tensors
    for name, tensor in expected.tensors.items():
        again = own["head.weight" if name == "token.weight" else name]
        assert again.role == tensor.role
        assert all(again.factor(q) == tensor.factor(q) for q in ("init", "lr", "eps", "decay", "multiplier"))


@every_model
def test_train_and_eval_give_equal_outputs(kind: str) -> None:
    model, own = planned(kind)
    x = MODELS[kind][1]
    assert torch.equal(model.train()(x), model.eval()(x))
    train(model, torch.optim.AdamW(own.param_groups(model, 0.05)), kind)
    assert torch.equal(model.train()(x), model.eval()(x))


@every_model
def test_functional_call_takes_new_tensors(kind: str) -> None:
    model, own = planned(kind)
    x = MODELS[kind][1]
    tensors = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert torch.equal(functional_call(model, tensors, (x,)), model(x))
    gradients = torch.func.grad(lambda tensors: loss(lambda x: functional_call(model, tensors, (x,)), kind))(tensors)
    loss(model, kind).backward()
    assert_close(gradients, {name: p.grad for name, p in model.named_parameters()})
    assert gradients.keys() == own.tensors.keys()


@two_models
def test_export_gives_the_planned_outputs(kind: str) -> None:
    model, _ = planned(kind)
    x = MODELS[kind][1]
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("rate", [0.05, torch.tensor(0.05, dtype=torch.float64)], ids=["number", "tensor"])
@two_models
def test_a_resumed_run_is_the_uninterrupted_one(kind: str, rate: float | Tensor, optimizer: str) -> None:
    cls = {"adamw": torch.optim.AdamW, "sgd": partial(torch.optim.SGD, momentum=0.9)}[optimizer]
    whole, own = planned(kind, optimizer)
    first, _ = planned(kind, optimizer)
    train(whole, cls(own.param_groups(whole, rate)), kind, 4)
    groups = own.param_groups(first, rate)
    expected = [{k: v for k, v in group.items() if k != "params"} for group in groups]
    early = cls(groups)
    train(first, early, kind, 2)
    saved = through_bytes({"model": first.state_dict(), "optimizer": early.state_dict(), "plan": own.to_json()}, True)
    second = MODELS[kind][0](2)
    second.load_state_dict(saved["model"])
    late = cls(Plan.from_json(saved["plan"]).param_groups(second, 123.0))
    late.load_state_dict(saved["optimizer"])
    for group, before in zip(late.param_groups, expected, strict=True):
        assert {k: group[k] for k in before} == before
    train(second, late, kind, 2)
    assert_close(dict(second.named_parameters()), dict(whole.named_parameters()))


def applied(to: Callable[[nn.Module], object], model: nn.Module, *names: str) -> nn.Module:
    for name in names:
        to(model.get_submodule(name))
    return model


REPARAMETRIZED: dict[str, Callable[[nn.Module], object]] = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "old spectral_norm": nn.utils.spectral_norm,
    "pruning": lambda layer: prune.l1_unstructured(layer, "weight", 0.25),
}
"""What puts a computation between the parameter and the weight; its scale is no longer that of the weight."""


@pytest.mark.parametrize("to", REPARAMETRIZED.values(), ids=REPARAMETRIZED)
@pytest.mark.parametrize("layer", ["readout", "input", "hidden.0"])
def test_reparametrized_weights_are_refused_or_right(to: Callable[[nn.Module], object], layer: str) -> None:
    """If planned at all, the weight itself has the law of the plain model: a readout's RMS falls as 1/width, a hidden one's as its root."""
    model, base = (applied(to, mlp(width, 3, inputs=6, outputs=3), layer) for width in (64, 16))
    wanted = plan(mlp(64, 3, inputs=6, outputs=3), mlp(16, 3, inputs=6, outputs=3))[f"{layer}.weight"]
    try:
        own = plan(model, base)
    except MutransferError as error:
        assert layer.replace("0", "*") in str(error) or layer in str(error), error
        return
    own.initialize(model)
    with torch.no_grad():
        model(torch.randn(4, 6)), base(torch.randn(4, 6))
    sizes = [each.get_submodule(layer).weight.detach().square().mean().sqrt() for each in (model, base)]
    assert (sizes[0] / sizes[1]).item() == pytest.approx(wanted.factor("init"), rel=0.1)
    rates = {own[name].factor("lr") for name in own.tensors if name.startswith(f"{layer}.") and "bias" not in name}
    assert wanted.factor("lr") in rates


@pytest.mark.parametrize("to", REPARAMETRIZED.values(), ids=REPARAMETRIZED)
def test_a_weight_reparametrized_after_planning_is_noticed(to: Callable[[nn.Module], object]) -> None:
    model, own = planned("mlp")
    applied(to, model, "readout")
    for use in (own.initialize, partial(own.param_groups, lr=0.1), partial(own.clip_grad_norm_, max_norm=1.0)):
        with pytest.raises(MutransferError, match="readout"):
            use(model)


def test_a_parametrization_that_was_made_permanent_is_a_plain_weight() -> None:
    model, own = planned("mlp")
    parametrizations.weight_norm(model.readout)
    remove_parametrizations(model.readout, "weight")
    assert_close(trained(model, own, "mlp"), reference("mlp"))
