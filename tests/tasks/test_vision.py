"""Networks for images: their plans, and that they are trained stacked."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import mutransfer as mt
from mutransfer import MutransferError
from mutransfer.rules import Role
from mutransfer.tasks import resnet, vit

Builder = Callable[..., nn.Module]
SMALL: dict[str, Builder] = {
    "resnet": partial(resnet, stages=2),
    "vit": partial(vit, side=16),
    "post-norm": partial(vit, side=16, norm="post"),
}
X = torch.linspace(-2, 2, 3 * 3 * 16 * 16).view(3, 3, 16, 16).sin()
ROLES = {
    "resnet": {
        "stages.0.enter.weight": Role.INPUT,
        "stages.1.enter.weight": Role.HIDDEN,
        "stages.*.blocks.*.conv?.weight": Role.HIDDEN,
        "stages.*.blocks.*.norm?.weight": Role.GAIN,
        "norms.*.weight": Role.GAIN,
        "readout.weight": Role.READOUT,
    },
    "vit": {
        "patch.weight": Role.INPUT,
        "position.weight": Role.EMBEDDING,
        "blocks.*.attention.*.weight": Role.HIDDEN,
        "blocks.*.mlp.*.weight": Role.HIDDEN,
        "*norm.weight": Role.GAIN,
        "head.weight": Role.READOUT,
    },
}
ROLES["post-norm"] = ROLES["vit"]


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def drawn(build: Builder, seed: int = 0, **sizes: int) -> nn.Module:
    torch.manual_seed(seed)
    return build(**sizes)


def test_every_tensor_has_its_role_in_width(name: str) -> None:
    base, model = (SMALL[name](width=width, depth=2) for width in (16, 32))
    plan = mt.plan(model, base)
    expected = {
        tensor: next((role for p, role in ROLES[name].items() if fnmatchcase(tensor, p)), Role.BIAS)
        for tensor in plan.tensors
    }
    assert {tensor: planned.role for tensor, planned in plan.tensors.items()} == expected
    readout = plan.tensors["readout.weight" if name == "resnet" else "head.weight"]
    assert str(readout.init) == "fan_in^-1" and str(readout.lr) == "fan_in^-1"


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_branches_of_every_block_are_scaled_in_depth(name: str) -> None:
    base, model = (SMALL[name](width=16, depth=depth) for depth in (2, 8))
    plan = mt.plan(model, base)
    ends = ("conv2.weight", "attention.out.weight", "mlp.down.weight")
    multipliers = {tensor: planned.multiplier for tensor, planned in plan.tensors.items()}
    scaled = {tensor for tensor, multiplier in multipliers.items() if "depth" in str(multiplier)}
    assert scaled == {tensor for tensor in plan.tensors if tensor.endswith(ends)}
    assert len(scaled) == 16 and {str(multipliers[tensor]) for tensor in scaled} == {"depth^-1"}
    # CompleteP: branches of two matrices count as 1/depth (2505.01618).
    factors = {tensor: planned.factor("init") for tensor, planned in plan.tensors.items()}
    assert factors == {tensor: 1 / 4 if tensor in scaled else 1 for tensor in plan.tensors}


@pytest.mark.parametrize("sizes", [{"depth": 4}, {"width": 32, "depth": 4}])
def test_no_rule_is_known_for_the_depth_of_a_post_norm(sizes: dict[str, int]) -> None:
    build = partial(SMALL["post-norm"], **{"width": 16, "depth": 2})
    with pytest.raises(MutransferError, match=r"post-norm\), and no rule is known for its depth"):
        mt.plan(build(**sizes), build())


def test_stacked_members_are_each_alone(name: str) -> None:
    members = [drawn(SMALL[name], seed, width=16, depth=1).double() for seed in range(3)]
    x = X.double()
    parameters, buffers = torch.func.stack_module_state(members)
    assert buffers == {}

    def loss(own: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(members[0], own, (x,)).square().mean()

    with sdpa_kernel(SDPBackend.MATH):  # as training does: vmap batches this one
        gradients, losses = torch.func.vmap(torch.func.grad_and_value(loss))(parameters)
    for number, member in enumerate(members):
        alone = member(x).square().mean()
        alone.backward()
        torch.testing.assert_close(losses[number], alone.detach(), rtol=1e-12, atol=1e-12)
        for tensor, parameter in member.named_parameters():
            own = gradients[tensor][number]
            torch.testing.assert_close(own, parameter.grad, rtol=1e-10, atol=1e-12)


def test_an_output_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    model = drawn(SMALL[name], width=16, depth=1).double()
    torch.testing.assert_close(model(X.double())[:1], model(X[:1].double()))


def test_pre_and_post_norms_are_where_they_say() -> None:
    pre, post = (drawn(vit, width=16, depth=1, norm=norm).double() for norm in ("pre", "post"))
    seen: dict[str, Tensor] = {}
    for kind, model in (("pre", pre), ("post", post)):
        model.blocks[0].register_forward_hook(lambda *a, kind=kind: seen.update({kind: a[2]}))
        model(torch.randn(2, 3, 32, 32).double())
    assert seen["post"].mean(-1).abs().max() < 1e-12
    assert seen["pre"].mean(-1).abs().max() > 1e-3


def test_a_stage_halves_the_resolution_and_doubles_the_width() -> None:
    model, shapes = drawn(resnet, width=8, depth=1), []
    for stage in model.stages:
        stage.register_forward_hook(lambda *a: shapes.append(tuple(a[2].shape[1:])))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert shapes == [(8, 32, 32), (16, 16, 16), (32, 8, 8)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: resnet(12), "width 12 is not a multiple of the 8 groups of a norm"),
        (lambda: vit(30, heads=4), "width 30 is not a multiple of 4 heads"),
        (lambda: vit(patch=5), "images of side 32 cannot be cut into patches of side 5"),
        (lambda: vit(norm="sandwich"), "unknown norm 'sandwich'; choose one of pre, post"),
        (lambda: vit(activation="relu6"), "unknown activation 'relu6'; choose one of relu, gelu"),
    ],
)
def test_sizes_and_names_that_do_not_fit_are_refused(
    build: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(MutransferError, match=message):
        build()


@pytest.mark.parametrize(
    "build", [partial(vit, side=8, depth=2), SMALL["resnet"]], ids=["vit", "resnet"]
)
def test_features_move_alike_at_every_width(build: Builder) -> None:
    small = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    check = mt.coordinate_check(build, width=[32, 64, 128], seeds=3, batch=small)
    assert check.verdict == "pass", str(check)
