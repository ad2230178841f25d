"""Factors of planned tensors, in the forms in which tests compare them."""

from mutransfer import Plan

QUANTITIES = ("init", "lr", "eps", "decay")
ALL_QUANTITIES = (*QUANTITIES, "multiplier")


def factors(plan: Plan, name: str, quantities: tuple[str, ...] = QUANTITIES) -> tuple[float, ...]:
    """Return the factors of one tensor."""
    return tuple(plan[name].factor(quantity) for quantity in quantities)


def table(plan: Plan, quantities: tuple[str, ...] = ALL_QUANTITIES) -> dict[str, tuple[float, ...]]:
    """Return the factors of all tensors by name."""
    return {name: factors(plan, name, quantities) for name in plan.tensors}


def warning_ids(plan: Plan) -> set[str]:
    """Return the ids of the plan's warnings."""
    return {warning.id for warning in plan.warnings}
