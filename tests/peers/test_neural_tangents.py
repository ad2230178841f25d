"""neural-tangents (1912.02803): its kernels are those of the lazy limit.

neural-tangents 0.6.5 needs jax 0.4.30 and tf2jax 0.3.6: this test runs in its own environment.
"""

from typing import Literal

import numpy as np
import pytest

from mutransfer.limits import Problem, lazy

jax = pytest.importorskip("jax")
pytest.importorskip("neural_tangents", exc_type=ImportError)


@pytest.mark.filterwarnings("ignore:`FanIn` layers assume independent inputs:UserWarning")
@pytest.mark.parametrize("layer", ["Relu", "Abs", "Erf", "Gelu"])
@pytest.mark.parametrize("block_depth", [1, 2])
def test_kernels_are_those_of_neural_tangents(layer: str, block_depth: Literal[1, 2]) -> None:
    """Branches are "pre": the peer refuses to add a branch that ends in an activation."""
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    depth, draw = 3, np.random.default_rng(0)
    p = Problem(
        inputs=draw.normal(size=(4, 5)),
        targets=np.ones(4),
        lr=0.1,
        steps=0,
        activation=layer.lower(),
        block_depth=block_depth,
        beta0=1.2,
    )
    branch = [getattr(stax, layer)(), stax.Dense(1)] * block_depth
    scaled = stax.serial(*branch, stax.DotGeneral(rhs=p.branch(depth)))
    layers = [
        stax.serial(stax.FanOut(2), stax.parallel(stax.Identity(), scaled), stax.FanInSum())
    ] * depth
    _, _, kernel = stax.serial(stax.Dense(1), *layers, stax.Dense(1))
    peer = kernel(p.inputs, None, ("nngp", "ntk"))
    limit = lazy(p, depth)
    np.testing.assert_allclose(limit.nngp[-1], peer.nngp, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(limit.ntk, peer.ntk, rtol=1e-12, atol=1e-12)
