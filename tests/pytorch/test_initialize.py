"""Initialisation is for a fresh draw: twice changes nothing, a trained model is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer.tasks import gpt, mlp
from tests.models import Net


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def gpts() -> tuple[nn.Module, nn.Module]:
    return gpt(64, 4, vocabulary=19, heads=2), gpt(32, 2, vocabulary=19, heads=2)


def mlps() -> tuple[nn.Module, nn.Module]:
    return mlp(128, 3, inputs=5), mlp(32, 3, inputs=5)


def default(width: int) -> nn.Module:
    """Build an MLP without any constant: torch's default draw, biases and all."""
    layers = {"a": nn.Linear(5, width), "b": nn.Linear(width, width), "c": nn.Linear(width, 10)}
    return Net(lambda m, x: m.c(m.b(m.a(x).relu()).relu()), **layers)


def defaults() -> tuple[nn.Module, nn.Module]:
    return default(256), default(64)


def convolution(width: int) -> nn.Module:
    return Net(
        lambda m, x: m.c(m.norm(m.b(m.a(x).relu())).mean((2, 3))),
        a=nn.Conv2d(3, width, 3),
        b=nn.Conv2d(width, width, 3),
        norm=nn.BatchNorm2d(width),
        c=nn.Linear(width, 10),
    )


def convolutions() -> tuple[nn.Module, nn.Module]:
    return convolution(64), convolution(16)


PAIRS = {"gpt": gpts, "mlp": mlps, "default": defaults, "convolution": convolutions}
INPUTS: dict[str, Callable[[], Tensor]] = {
    "gpt": lambda: torch.randint(19, (8, 8)),
    "mlp": lambda: torch.randn(32, 5),
    "default": lambda: torch.randn(32, 5),
    "convolution": lambda: torch.randn(8, 3, 8, 8),
}
each_pair = pytest.mark.parametrize("name", PAIRS)


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def optimizer_of(plan: mt.Plan, model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(plan.param_groups(model, 2**-7))


def train(
    name: str, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 30, *, seed: int = 1
) -> list[float]:
    generator = torch.random.get_rng_state()
    torch.manual_seed(seed)
    losses = []
    for _ in range(steps):
        logits = model(INPUTS[name]()).flatten(0, -2)
        targets = torch.arange(len(logits)) % logits.shape[-1]
        loss = F.cross_entropy(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    torch.random.set_rng_state(generator)
    return losses


def trained(name: str, steps: int = 30) -> tuple[mt.Plan, nn.Module]:
    model, base = PAIRS[name]()
    plan = mt.plan(model, base)
    plan.initialize(model)
    train(name, model, optimizer_of(plan, model), steps)
    return plan, model


def assert_refused(plan: mt.Plan, model: nn.Module, sign: str) -> None:
    before = values(model)
    with pytest.raises(mt.MutransferError, match=sign) as refusal:
        plan.initialize(model)
    assert_same(model, before)
    if "at zero" not in str(refusal.value):
        assert "plan.initialize(model, fresh=True)" in str(refusal.value)
        assert "before load_state_dict" in str(refusal.value)


@each_pair
@pytest.mark.parametrize("steps", [1, 30])
def test_a_model_that_was_trained_since_is_refused(name: str, steps: int) -> None:
    plan, model = trained(name, steps)
    assert_refused(plan, model, "was written since plan.initialize, by training or a checkpoint")


SIGNS = {
    "gpt": "is 1 in the base, and has learned values in the model",
    "mlp": "starts at zero in the base only: .*where the model is trained or loaded",
    "default": "b.* has torch's default scale in the base, and in the model an RMS of",
    "convolution": "has torch's default scale in the base|is 1 in the base, and has learned",
}


@each_pair
def test_a_trained_checkpoint_in_a_new_model_is_refused(name: str) -> None:
    plan, model = trained(name)
    resumed = PAIRS[name]()[0]
    resumed.load_state_dict(model.state_dict())
    again = mt.Plan.from_json(plan.to_json())
    assert_refused(again, resumed, SIGNS[name])
    assert_refused(again, copy.deepcopy(model), SIGNS[name])


@each_pair
@pytest.mark.parametrize("first", [True, False], ids=["initialize, load", "load"])
def test_training_goes_on_from_a_checkpoint(name: str, first: bool) -> None:
    """Initialise before loading, or not at all: the losses are those without a stop."""
    plan, model = trained(name)
    optimizer = optimizer_of(plan, model)
    train(name, model, optimizer, 5)
    checkpoint = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    resumed = PAIRS[name]()[0]
    if first:
        plan.initialize(resumed)
    resumed.load_state_dict(checkpoint[0])
    other = optimizer_of(plan, resumed)
    other.load_state_dict(checkpoint[1])
    assert plan.audit(resumed, other).ok
    assert train(name, resumed, other, 5, seed=2) == train(name, model, optimizer, 5, seed=2)


@each_pair
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_second_call_changes_not_a_bit(name: str, dtype: torch.dtype) -> None:
    model, base = PAIRS[name]()
    plan = mt.plan(model, base)
    model.to(dtype)
    drawn = values(model)
    plan.initialize(model)
    once = values(model)
    assert any(not torch.equal(once[name], drawn[name]) for name in once)
    plan.initialize(model)
    assert_same(model, once)
    resumed = PAIRS[name]()[0].to(dtype)
    resumed.load_state_dict(model.state_dict())
    plan.initialize(resumed)
    assert_same(resumed, once)


@each_pair
def test_a_model_that_is_drawn_again_is_fresh(name: str) -> None:
    plan, model = trained(name)
    model.load_state_dict(PAIRS[name]()[0].state_dict())
    plan.initialize(model)
    for tensor in plan.tensors.values():
        run = torch.cat([model.get_parameter(each).detach().flatten() for each in tensor.run])
        wanted = tensor.base_rms * tensor.factor("init")
        assert run.square().mean().sqrt().item() == pytest.approx(wanted, rel=1e-5)


@each_pair
def test_another_plan_rescales_the_same_draw(name: str) -> None:
    model, base = PAIRS[name]()
    drawn = copy.deepcopy(model)
    mt.plan(model, base, rule="ntk").initialize(model)
    plan = mt.plan(model, base)
    plan.initialize(model)
    plan.initialize(drawn)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, drawn.state_dict()[key], rtol=1e-5, atol=0)


def test_fresh_declares_that_values_are_a_draw() -> None:
    plan, model = trained("default")
    plan.initialize(model, fresh=True)
    tensor = plan["c.weight"]
    found = model.get_parameter("c.weight").detach().square().mean().sqrt().item()
    assert found == pytest.approx(tensor.base_rms * tensor.factor("init"), rel=1e-5)


def of_matrices(draw: Callable[[Tensor], Any]) -> Callable[[nn.Module], None]:
    def apply(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    draw(parameter)

    return apply


def of_vectors(draw: Callable[[Tensor], Any]) -> Callable[[nn.Module], None]:
    def apply(model: nn.Module) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    draw(parameter)

    return apply


def by_row(matrix: Tensor) -> None:
    """Draw row by row, as code for attention heads does: many writes in place."""
    for row in matrix:
        row.normal_(0, 0.1)


def run_data(model: nn.Module) -> None:
    """Rescale layers until their output has unit scale on data, as LSUV does."""
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(32, 5)).square().mean().backward()
        optimizer.step()
    for parameter in model.parameters():
        parameter.data *= 1 / (parameter.data.std() + 1)


DRAWS: dict[str, Callable[[nn.Module], None]] = {
    "xavier": of_matrices(nn.init.xavier_normal_),
    "he": of_matrices(nn.init.kaiming_normal_),
    "orthogonal": of_matrices(nn.init.orthogonal_),
    "sparse": of_matrices(lambda p: nn.init.sparse_(p, 0.3)),
    "truncated": of_matrices(lambda p: nn.init.trunc_normal_(p, std=0.02)),
    "positive": of_matrices(lambda p: p.uniform_(0, 0.1)),
    "constant matrices": of_matrices(lambda p: p.fill_(0.01)),
    "identity": of_matrices(nn.init.eye_),
    "by row": of_matrices(by_row),
    "vectors of one": of_vectors(nn.init.ones_),
    "vectors of zero": of_vectors(nn.init.zeros_),
    "vectors of 0.1": of_vectors(lambda p: p.fill_(0.1)),
    "small vectors": of_vectors(lambda p: p.normal_(0, 1e-3)),
    "after a pass over data": run_data,
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("planned_first", [True, False])
def test_every_draw_of_ones_own_is_fresh(
    draw: Callable[[nn.Module], None], planned_first: bool
) -> None:
    """Both sizes are drawn by one law, before or after they are planned."""
    model, base = defaults()
    draw(base)
    if not planned_first:
        draw(model)
    plan = mt.plan(model, base)
    if planned_first:
        draw(model)
    plan.initialize(model)
    for tensor in plan.tensors.values():
        run = torch.cat([model.get_parameter(each).detach().flatten() for each in tensor.run])
        wanted = tensor.base_rms * tensor.factor("init")
        assert run.square().mean().sqrt().item() == pytest.approx(wanted, rel=1e-5)


def test_a_constant_that_depends_on_the_size_is_fresh() -> None:
    model, base = gpts()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.fill_(0.5)
    mt.plan(model, base).initialize(model)


@pytest.mark.parametrize("width", [64, 128, 256, 1024])
def test_fresh_models_are_fresh(width: int) -> None:
    """Chance raises no alarm, in the draw of the base or of the model."""
    for seed in range(30 if width < 512 else 10):
        torch.manual_seed(seed)
        model = default(width)
        mt.plan(model, default(32), rule="mup").initialize(model)


def test_nothing_is_hung_on_the_model() -> None:
    model, base = gpts()
    keys = list(model.state_dict())
    before = [sorted(vars(module)) for module in model.modules()]
    plan = mt.plan(model, base)
    plan.initialize(model)
    assert list(model.state_dict()) == keys
    assert [sorted(vars(module)) for module in model.modules()] == before
    assert all(type(p) is nn.Parameter and not vars(p) for p in model.parameters())
    assert not model.token.weight._backward_hooks


class Quantised(nn.Module):
    """A frozen matrix of codes with a scale for each row, and an adapter that is trained."""

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        matrix = torch.randn(width, width) / width**0.5
        scale = matrix.abs().amax(1, keepdim=True) / 100
        self.codes = nn.Parameter((matrix / scale).to(dtype), requires_grad=False)
        self.register_buffer("scale", scale)
        self.down = nn.Parameter(torch.randn(4, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(width, 4))

    def forward(self, x: Tensor) -> Tensor:
        return x @ (self.codes.float() * self.scale).T + x @ self.down.T @ self.up.T


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_quantised_weights_keep_their_values(dtype: torch.dtype, optimizer: str) -> None:
    model, base = (
        nn.Sequential(nn.Linear(5, width), Quantised(width, dtype), nn.Linear(width, 3))
        for width in (64, 16)
    )
    plan = mt.plan(model, base, optimizer=optimizer)
    before = values(model)
    plan.initialize(model)
    plan.initialize(model)
    after = values(model)
    assert torch.equal(after["1.codes"].float(), before["1.codes"].float())
    for name in ("0.weight", "1.down", "2.weight"):
        wanted = plan[name].base_rms * plan[name].factor("init")
        assert after[name].square().mean().sqrt().item() == pytest.approx(wanted, rel=1e-5), name
    cls = {"adamw": torch.optim.AdamW, "adafactor": torch.optim.Adafactor}[optimizer]
    assert plan.audit(model, cls(plan.param_groups(model, 0.1))).ok


def test_a_model_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        model = PAIRS["default"]()[0]
    plan = mt.plan(model, PAIRS["default"]()[1])
    before = values(model)
    with pytest.raises(
        mt.MutransferError, match=r"made under torch\.inference_mode.*build the mod"
    ):
        plan.initialize(model)
    assert_same(model, before)
    with torch.inference_mode():
        plan.initialize(model)
