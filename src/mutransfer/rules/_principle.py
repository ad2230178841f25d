"""The one principle that turns laws into rates, and its explanation.

The rate is the wanted change of the layer's output, divided by the change at rate 1. The eps scales
as what it is added to. The decay shrinks a tensor by the same fraction a step at every width.
"""

from __future__ import annotations

from dataclasses import replace

from ._powers import ONE, Powers
from ._quantities import Quantities
from ._reasons import Reason
from ._situation import Situation


def derived(s: Situation) -> Quantities:
    """Return the quantities of a tensor, before options and ablations.

    The tensor has no multiplier. With the response, the change of the layer's output at rate 1:

        lr    = wanted change / response
        eps   = gradient^eps_degree · (what eps is added to, for a unit gradient)
        decay = wanted shrinking / lr, in the optimizer's own convention

    (Tensor Programs V, Lemma J.1; 2603.00541, Section 4 and Tables 6 and 12).
    """
    optimizer, gradient = s.optimizer, s.gradient
    lr = s.change / _response(s)
    eps = ONE if optimizer.eps is None else gradient**optimizer.eps_degree * optimizer.eps
    quantities = Quantities(init=s.law.init, lr=lr, eps=eps)
    # An update of degree p multiplies what is added to the gradient by gradient^(p - 1).
    # Independent decay is never multiplied by the rate.
    convention = {
        "coupled": gradient ** (1 - optimizer.degree),
        "decoupled": ONE,
        "normalised": ONE,
        "independent": lr,
    }
    decay = _shrinking(s, quantities) / lr * convention[optimizer.decay]
    if optimizer.normalises_decay:
        decay = decay / s.law.init
    return replace(quantities, decay=decay)


def explained(s: Situation) -> list[Reason]:
    """Return a reason for each quantity of `derived`."""
    quantities, optimizer = derived(s), s.optimizer
    init = f"the law of the role {s.role}"
    lr = (
        f"the output should change by {s.change} a step, and a unit rate of {optimizer.name} "
        f"changes it by {_response(s)}"
    )
    decay = (
        f"{optimizer.decay}, it should shrink the tensor by {_shrinking(s, quantities)} a step "
        "(2603.00541, Section 4)"
    )
    eps = f"entries of the gradient are {s.gradient}"
    return [
        Reason("init", init, quantities.init),
        Reason("lr", lr, quantities.lr),
        Reason("decay", decay, quantities.decay),
        *([] if optimizer.eps is None else [Reason("eps", eps, quantities.eps)]),
    ]


def _response(s: Situation) -> Powers:
    """Return the change of the layer's output at rate 1."""
    # A finite fan-in adds up to a constant, and a relative update scales as the tensor does.
    gain = s.optimizer.gain if s.law.sums_over_width else s.optimizer.gain.substitute(fan_in=None)
    return gain * s.gradient**s.optimizer.degree * s.law.init ** int(s.optimizer.relative)


def _shrinking(s: Situation, quantities: Quantities) -> Powers:
    """Return the fraction by which decay should shrink the tensor in a step.

    Inside a branch it is in proportion to the wanted change; decay that is normalised together with
    the update keeps its share of it.
    """
    return quantities.lr if s.optimizer.normalises_decay else s.share
