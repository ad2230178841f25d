"""The outcome of an experiment: its claims beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from ..core import MutransferError, Result, number, parsed, parsing, plain
from ._claim import Claim, Finding, Values, shown

AS_STATED, IN_PART, OTHERWISE = "as the paper", "in part", "differs"


@dataclass(frozen=True, kw_only=True, repr=False)
class Outcome(Result):
    """The claims of an experiment beside what was measured.

    Attributes:
        name: Its name.
        title: What it is about.
        source: Paper and figure.
        scale: Its scale.
        findings: Each claim beside its quantity, under its rule and under the wrong one.
        remarks: What is to be said of it.
        data: Names of the data.
        runs: Networks that were trained in sweeps.
        seconds: Time that it took, what was taken up from earlier apart.
        about: Versions, device, command and date.
    """

    name: str
    title: str
    source: str
    scale: str
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    data: tuple[str, ...]
    runs: int
    seconds: float
    about: Mapping[str, Any]

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims, as they stood when it ran."""
        return tuple(each.claim for each in self.findings)

    @property
    def status(self) -> str:
        """The verdict: "as the paper" if all claims hold and each fails where it must."""
        good = [each.holds and each.fails_when_wrong for each in self.findings]
        return AS_STATED if all(good) else IN_PART if any(good) else OTHERWISE

    @property
    def is_as_stated(self) -> bool:
        """All claims hold, and each fails where it must."""
        return self.status == AS_STATED

    def __str__(self) -> str:
        head = f"{self.name}: {self.title} ({self.source})"
        lines = [line for each in self.findings for line in _told(each)]
        runs = f"{self.runs} runs, " if self.runs else ""
        end = f"{self.status}; {self.scale} scale, {runs}{self.seconds:.0f} s"
        return "\n".join([head, *lines, *(f"  {remark}" for remark in self.remarks), f"  {end}"])

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        own = {each.name: getattr(self, each.name) for each in fields(self)}
        data: dict[str, Any] = plain({**own, "status": self.status})
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | str) -> Self:
        """Return the outcome that `to_json` wrote.

        Raises:
            MutransferError: the data is no outcome.
        """
        with parsing("an outcome written by Outcome.to_json"):
            values = parsed(data)
            own = {each.name: values[each.name] for each in fields(cls)}
            return cls(
                **{
                    **own,
                    "findings": tuple(map(Finding.from_json, values["findings"])),
                    "remarks": tuple(values["remarks"]),
                    "data": tuple(values["data"]),
                    "seconds": number(values["seconds"]),
                }
            )


def findings(claims: tuple[Claim, ...], values: Values) -> tuple[Finding, ...]:
    """Return each claim beside its quantity.

    Raises:
        MutransferError: a quantity was not measured.
    """
    found = []
    for claim in claims:
        for rule in (claim.rule, claim.wrong):
            if claim.quantity not in values.get(rule, {}):
                raise MutransferError(f"{claim.quantity!r} was not measured under {rule!r}")
        value, control = (values[rule][claim.quantity] for rule in (claim.rule, claim.wrong))
        found.append(Finding(claim=claim, value=value, control=control))
    return tuple(found)


def _told(finding: Finding) -> list[str]:
    claim = finding.claim
    sure = "holds" if finding.is_sure else "holds, its interval reaches beyond"
    holds = sure if finding.holds else "does NOT hold"
    fails = "fails, as it must" if finding.fails_when_wrong else "does NOT fail"
    value, control = shown(finding.value), shown(finding.control)
    return [
        f"  {claim.says}",
        f"    {claim.quantity}: {claim.rule} {value}, wanted {claim.wanted}: {holds}; "
        f"{claim.wrong} {control}: {fails}",
    ]
