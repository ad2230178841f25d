"""Measuring activations: outputs, their changes, and the parts of these."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor, nn

from ..pytorch import whole
from ..reading import pattern
from ..rules import Role
from ..statistics import diversity_exponent
from ._nonlinear import Arguments, alone, nonlinearity
from ._owners import holder, module_of
from ._quantities import (
    ALIGNMENT,
    BARE_CARRIED,
    BARE_OWN,
    CARRIED,
    CHANGE,
    CHANGE_OF_INPUT,
    CHANGE_OF_THIS_STEP,
    DIVERSITY,
    INPUT,
    NONLINEARITY,
    OWN,
    REACH,
    SHARE,
    SIZE,
    THROUGH_INPUT,
    Measured,
)
from ._record import Pass, fan_in, linear_part, rms
from ._subject import Subject

FEWEST_LAYERS = 4
"""Fewest layers for which a diversity exponent is measured."""


def inputs(seen: Pass, first: Pass, step: int) -> Iterator[Measured]:
    """Measure the inputs of norms, and their changes since initialisation.

    The stream before the first branch is left out: it is half of the layers of a network of depth
    2, and few of a deep one, so that the mean over layers would grow with depth.
    """
    sizes = {call: rms(stream) for call, stream in seen.streams.items()}
    layers = Counter(map(pattern, sizes))
    before = next((size for call, size in sizes.items() if layers[pattern(call)] > 1), None)
    for call, stream in seen.streams.items():
        if sizes[call] == before and layers[pattern(call)] > 1:
            continue
        yield INPUT, call, sizes[call]
        start = first.streams.get(call)
        if step and start is not None and start.shape == stream.shape:
            yield CHANGE_OF_INPUT, call, rms(stream - start)


def outputs(seen: Pass, first: Pass, before: Mapping[str, Tensor], step: int) -> Iterator[Measured]:
    """Measure all outputs, and their changes since initialisation and in this step.

    Args:
        seen: The forward pass.
        first: The forward pass at initialisation.
        before: The outputs before this step.
        step: Number of steps.
    """
    by_call: dict[str, list[Measured]] = {}
    for call, output in seen.outputs.items():
        # Many modules just return what a module inside them returned; it is measured once.
        same = seen.same.get(call)
        measured = [] if same is None else by_call.get(same, [])
        if not measured:
            measured = [(SIZE, call, rms(output))]
            start, previous = first.outputs.get(call), before.get(call)
            if step and start is not None and previous is not None and start.shape == output.shape:
                measured += [
                    (CHANGE, call, rms(output - start)),
                    (CHANGE_OF_THIS_STEP, call, rms(output - previous)),
                ]
        by_call[call] = measured
        yield from ((quantity, call, value) for quantity, _, value in measured)


def carried(subject: Subject, seen: Pass) -> Iterator[Measured]:
    """Measure the multipliers of other signals that a module's tensors carry.

    The module's output scales as they do. A forward hook may carry such a multiplier, too, next to
    those of depth and of the model's own factors, which the output is expected to have.
    """
    for call, output in seen.outputs.items():
        module = module_of(seen.same.get(call, call))
        weight = subject.weights.get(module)
        if weight is None or not output.numel():
            continue
        factor = subject.planned.carried[weight]
        tied = subject.planned.plan.tensors[weight].role == Role.TIED
        if tied and not isinstance(subject.modules[module], nn.Embedding):
            factor = 1.0  # the input of the head undoes what its embedding carries
        hook = subject.planned.plan.forward.get(module)
        if hook is not None:
            others = hook.multiplier.substitute(depth=None, own_factor=None)
            factor *= others.evaluate(hook.ratios)
        yield CARRIED, call, factor * _inner_factor(subject, module, seen)
    for name, owner in subject.bare.items():
        # Further out the multiplier has already met the signal that it is carried for.
        direct = owner == holder(name)
        factor = subject.planned.carried[name] if direct else 1.0
        yield BARE_CARRIED, name, factor * _inner_factor(subject, owner, seen)


def _inner_factor(subject: Subject, name: str, seen: Pass) -> float:
    """Return the factor that a table multiplies its rows by itself, as Gemma's does."""
    module, output = subject.modules[name], seen.outputs.get(name)
    if not isinstance(module, nn.Embedding) or linear_part(module) is not None or output is None:
        return 1.0
    scale = rms(subject.start[subject.weights[name]])
    return rms(output) / scale if scale else 1.0


def shares(subject: Subject, seen: Pass) -> Iterator[Measured]:
    """Measure the end of each branch as a share of the stream.

    The stream is the input of the norm before the branch.
    """
    stream = 0.0
    for call, output in seen.outputs.items():
        ends = subject.ends_branch(call)
        if call in seen.streams and not ends:
            stream = rms(seen.streams[call])
        elif ends and stream:
            yield SHARE, call, rms(output) / stream


def diversity(subject: Subject, seen: Pass) -> Iterator[Measured]:
    """Measure the diversity exponent of the streams before the branches of one kind."""
    layers: dict[str, list[Tensor]] = {}
    for call, stream in seen.streams.items():
        module = subject.modules.get(module_of(call))
        layers.setdefault(pattern(call), []).append(_coordinates_last(module, stream))
    for name, streams in layers.items():
        if len(streams) < FEWEST_LAYERS or len({stream.shape for stream in streams}) > 1:
            continue
        arrays = [whole(stream).double().cpu().numpy() for stream in streams]
        exponent = diversity_exponent(np.stack(arrays))
        # Branches that start at zero leave all layers equal, which have no exponent.
        if not math.isnan(exponent):
            yield DIVERSITY, name, exponent


def _coordinates_last(module: nn.Module | None, stream: Tensor) -> Tensor:
    """Return features with their coordinates last: of convolutions, the channels."""
    by_channel = nn.modules.batchnorm._NormBase | nn.GroupNorm
    return stream.movedim(1, -1) if isinstance(module, by_channel) else stream


def parts(
    subject: Subject, seen: Pass, first: Pass, spectral: Mapping[str, float]
) -> Iterator[Measured]:
    """Measure the parts of each linear layer's change, its own and its input's.

    With W = W0 + dW and x = x0 + dx, the change of W x is dW x + W0 dx. The first part is the
    layer's own. The second is what remains of the change without it and the change of the bias.

    Args:
        subject: The network.
        seen: The forward pass.
        first: The forward pass at initialisation.
        spectral: Spectral norms of the changes of weights, as far as they were measured.
    """
    for call, given in seen.inputs.items():
        module = subject.modules.get(module_of(call))
        weight = subject.weights.get(module_of(call))
        linear = None if module is None else linear_part(module)
        known = call in first.outputs and call in seen.outputs
        if module is None or linear is None or weight is None or not known:
            continue
        matrix = whole(subject.parameters[weight].detach())
        update = matrix - subject.start[weight]
        own = linear(given, update)
        yield OWN, call, rms(own)
        yield REACH, call, rms(update) * fan_in(module, update)
        if isinstance(module, nn.Embedding) or first.outputs[call].shape != own.shape:
            continue
        through = seen.outputs[call] - first.outputs[call] - own
        if (bias := getattr(module, "bias", None)) is not None:
            shift = whole(bias.detach()) - subject.start[subject.name_of(bias)]
            # Channels come before the spatial dimensions; a kernel has two dimensions more.
            through -= shift.view(-1, *(1,) * (matrix.dim() - 2))
        yield THROUGH_INPUT, call, rms(through)
        # Alignment is 1 where the input lies along the update's largest singular direction.
        if norms := spectral.get(weight, 0.0) * float(given.norm()):
            yield ALIGNMENT, weight, float(own.norm()) / norms


def nonlinearities(subject: Subject, given: Mapping[str, Arguments]) -> Iterator[Measured]:
    """Measure the nonlinear fraction of the change of each block.

    Each takes four passes through the block, so it is measured for the first seed alone.

    Args:
        subject: The network after its last step.
        given: The arguments of the blocks at initialisation.
    """
    for name, arguments in given.items() if subject.is_first_seed else ():
        module = subject.modules[name]
        start = {
            inner: subject.start[subject.name_of(parameter)]
            for inner, parameter in module.named_parameters()
        }
        share = nonlinearity(module, start, arguments)
        if share is not None:
            yield NONLINEARITY, name, share


def bare_parts(subject: Subject, given: Mapping[str, Arguments]) -> Iterator[Measured]:
    """Measure the own part of each bare tensor in the change of its module's output.

    Args:
        subject: The network after its last step.
        given: The arguments of the modules of bare tensors in the last forward pass.
    """
    outputs: dict[str, Tensor | None] = {}
    for name, owner in subject.bare.items():
        if owner not in given:
            continue
        module, tensor = subject.modules[owner], subject.parameters[name]
        if owner not in outputs:
            outputs[owner] = alone(module, given[owner], {})
        before, after = alone(module, given[owner], {tensor: subject.start[name]}), outputs[owner]
        if before is not None and after is not None and before.shape == after.shape:
            yield BARE_OWN, name, rms(after - before)
