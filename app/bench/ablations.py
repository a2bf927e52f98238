"""Ablations as arms of an experiment: the same project again and again, with some fields of its protocol replaced."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Arm:
    """One line of an experiment's table: its name, the strategy behind it and what of the protocol it replaces."""

    name: str
    strategy: str
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The name as a part of a project's slug."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def _row(name: str, weights: tuple[float, float, float, float], **others: Any) -> Arm:
    fields = ("weight_nt_xent", "weight_patient", "weight_volume", "weight_slice")
    return Arm(name, "gcl", {"encoder": dict(zip(fields, weights, strict=True)) | others})


ABLATIONS: dict[str, tuple[Arm, ...]] = {
    # Vepa et al., NeurIPS 2024, Table 4, with the weights of the runs behind its numbers. Its tenth row is printed with
    # NT-Xent and was run without; the eleventh was run with other weights than Appendix A names.
    "table4": (
        Arm("pixels", "coreset-pixels"),
        _row("nt-xent", (1, 0, 0, 0)),
        _row("patient", (0, 1, 0, 0)),
        _row("volume", (0, 0, 1, 0)),
        _row("slice", (0, 0, 0, 1)),
        _row("patient + volume", (0, 0.5, 0.5, 0)),
        _row("volume + slice", (0, 0, 0.5, 0.5)),
        _row("nt-xent + volume", (1, 0, 0.35, 0)),
        _row("nt-xent + patient + volume", (1, 0.05, 0.35, 0)),
        _row("patient + volume + slice", (0, 0.33, 0.33, 0.33)),
        _row("nt-xent + patient + volume + slice", (1, 0.10, 0.20, 0.05)),
    ),
    # What Table 4 leaves open: does the group loss help, or the batches that its sampler makes? Does the split of the
    # weights matter, their sum being equal? What does Eq. 4 give that the published code, whose positives are all other
    # views, does not? And does it hurt that NT-Xent pushes apart what the group losses pull together?
    "controls": (
        Arm("imagenet", "coreset-imagenet"),
        _row("nt-xent", (1, 0, 0, 0)),
        _row("nt-xent, groups sampled", (1, 0, 0, 0), mates="volume,patient"),
        _row("nt-xent + patient + volume", (1, 0.05, 0.35, 0)),
        _row("nt-xent + patient + volume, even", (1, 0.20, 0.20, 0)),
        _row("nt-xent + patient + volume, published code", (1, 0.05, 0.35, 0), legacy=True),
        _row("nt-xent of other patients + patient + volume", (1, 0.05, 0.35, 0), nt_xent_negatives="other-patients"),
    ),
}
