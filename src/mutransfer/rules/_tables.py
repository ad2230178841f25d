"""The parametrizations: data alone, with their sources.

A new rule is one entry here. The BibTeX of its papers is in `_citations.py`, or whole in `cites`.
"""

from __future__ import annotations

from fractions import Fraction

from ._parametrization import Parametrization
from ._powers import powers
from ._roles import Law, Role, laws

_HALF, _ONE = Fraction(1, 2), Fraction(1)

_LAZY = laws(readout=_HALF, change=powers(fan_out=-_HALF))
# The spectral norm is sqrt(fan_out/fan_in) for a fan-out that grows less than the fan-in, too.
_NARROW = Law(
    init=powers(fan_in=-1, fan_out=_HALF), gradient=powers(fan_out=-1), sums_over_width=True
)

PARAMETRIZATIONS = {
    rule.name: rule
    for rule in (
        Parametrization(
            name="sp",
            title="standard parametrization: plain PyTorch, one rate for every tensor",
            source="Tensor Programs V (2203.03466), Table 3, bracketed values",
            cites=("2203.03466",),
            attention=_HALF,
            one_rate=True,
        ),
        Parametrization(
            name="sp-layerwise",
            title="standard parametrization with a rate for each kind of layer; "
            "its output's first changes grow with width",
            source="Scaling Exponents Across Parameterizations and Optimizers (2407.05872)",
            cites=("2407.05872",),
            laws=laws(readout=_HALF),
            attention=_HALF,
        ),
        Parametrization(
            name="ntk",
            title="neural tangent parametrization: "
            "features stop moving as width grows (kernel regime), under Adam, too",
            source="Neural Tangent Kernel (1806.07572); Tensor Programs IV (2011.14522)",
            cites=("1806.07572", "2011.14522"),
            laws=_LAZY,
            attention=_HALF,
        ),
        Parametrization(
            name="mean-field",
            title="mean-field parametrization: "
            "muP with unit initial scale and explicit multipliers (form unit)",
            source="A Mean Field View of the Landscape of Two-Layer Neural Networks (1804.06561); "
            "Tensor Programs IV (2011.14522)",
            cites=("1804.06561", "2011.14522"),
        ),
        Parametrization(
            name="mup",
            title="maximal update parametrization: transfers in width",
            source="Tensor Programs V (2203.03466), Table 3",
            cites=("2203.03466",),
        ),
        Parametrization(
            name="spectral",
            title="muP from a condition on spectral norms; "
            "other than muP for matrices whose fan-out grows less than their fan-in",
            source="A Spectral Condition for Feature Learning (2310.17813), Condition 1; "
            "in depth 2603.00541",
            cites=("2310.17813", "2603.00541"),
            laws={**laws(), Role.KEY_VALUE: _NARROW},
        ),
        Parametrization(
            name="depth-mup",
            title="muP in width; residual branches times depth^-1/2, for branches with one matrix",
            source="Tensor Programs VI (2310.02244), Tables 1 and 2",
            cites=("2310.02244", "2203.03466"),
            alpha=_HALF,
        ),
        Parametrization(
            name="sqrt-depth",
            title="muP in width; residual branches times depth^-1/2, Adam's rate constant in depth",
            source="Depthwise Hyperparameter Transfer in Residual Networks (2309.16620)",
            cites=("2309.16620",),
            alpha=_HALF,
            options={"depth_rate": "constant", "bias_rate": "constant"},
        ),
        Parametrization(
            name="completep",
            title="muP in width; "
            "residual branches times 1/depth, for branches with two matrices or more",
            source="CompleteP (2505.01618), Table 1",
            cites=("2505.01618", "2203.03466"),
            alpha=_ONE,
        ),
        Parametrization(
            name="u-mup",
            title="unit-scaled muP: branches times depth^-1/2, embedding rate times 1/sqrt(width)",
            source="u-muP (2407.17465), Table 2 and Appendix G",
            cites=("2407.17465", "2203.03466"),
            alpha=_HALF,
            options={"embedding_rate": "sqrt", "branch_decay": "constant"},
        ),
    )
}
"""Every parametrization by name."""
