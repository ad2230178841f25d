"""Matrices that a layer makes of the data: refused, as no rule is known for their products."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mutransfer as mt
from mutransfer import MutransferError
from tests.factors import factors, warning_ids
from tests.models import Net


def ends(width: int) -> dict[str, nn.Module]:
    return {"stem": nn.Linear(5, width), "readout": nn.Linear(width, 3)}


def mixed(width: int) -> nn.Module:
    """Mix four matrices by a router, and apply the mixture."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = torch.relu(m.stem(x))
        made = torch.einsum("be,eio->bio", m.router(x).softmax(-1), m.made)
        return m.readout(torch.relu(torch.bmm(h[:, None], made)[:, 0]))

    model = Net(forward, **ends(width), router=nn.Linear(5, 4))
    model.made = nn.Parameter(torch.randn(4, width, width))
    return model


def edges(width: int) -> nn.Module:
    """Make a matrix of the data by a layer, as message passing over edges does."""

    def forward(m: Any, x: Tensor) -> Tensor:
        made = m.made(x).view(len(x), width, width)
        return m.readout(torch.einsum("bio,bi->bo", made, torch.relu(m.stem(x))))

    return Net(forward, **ends(width), made=nn.Linear(5, width**2, bias=False))


def modulated(width: int) -> nn.Module:
    """Scale the kernel of a convolution by the data, as StyleGAN2 does."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h, n = torch.relu(m.stem(x)), len(x)
        kernel = m.made * m.style(x).view(n, 1, width, 1)
        kernel = (kernel * torch.rsqrt(kernel.square().sum((2, 3), keepdim=True))).view(
            -1, width, 1
        )
        images = h.view(1, n * width, 1).expand(1, n * width, 4)
        return m.readout(F.conv1d(images, kernel, groups=n).view(n, width, 4).mean(2))

    model = Net(forward, **ends(width), style=nn.Linear(5, width))
    model.made = nn.Parameter(torch.randn(1, width, width, 1))
    return model


def attending(width: int) -> nn.Module:
    """Attend linearly: the state is a sum of outer products, and no parameter."""

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.stem(x)
        return m.readout(m.query(h) @ (m.made(h).T @ h))

    hidden = {name: nn.Linear(width, width) for name in ("query", "made")}
    return Net(forward, **ends(width), **hidden)


def planned(build: Callable[[int], nn.Module], **options: Any) -> mt.Plan:
    return mt.plan(build(64), build(16), example_inputs=torch.randn(8, 5), **options)


@pytest.mark.parametrize("build", [mixed, edges, modulated])
def test_a_product_with_a_matrix_of_the_data_is_refused(build: Any) -> None:
    with pytest.raises(MutransferError, match=r"made\S* makes a matrix of the data"):
        planned(build)


@pytest.mark.parametrize("build", [mixed, edges, modulated])
def test_declared_as_hidden_it_is_summed_over_the_width(build: Any) -> None:
    """Its entries are drawn as those of a hidden matrix, and learn as they do."""
    name = "made.weight" if build is edges else "made"
    plan = planned(build, roles={name: "hidden"}, optimizer="adam")
    assert factors(plan, name)[:2] == (4**-0.5, 4**-1)
    others = {n: factors(plan, n) for n in ("stem.weight", "readout.weight")}
    assert others["stem.weight"][:2] == (1, 1) and others["readout.weight"][:2] == (0.25, 0.25)
    assert "unproven-bottleneck" not in warning_ids(plan)


def test_a_state_of_outer_products_is_none_of_a_parameter() -> None:
    assert planned(attending)["made.weight"].role == "hidden"
