"""Projects, protocols and volumes that cannot be, or are there already."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict, InvalidInput, NotFound, PreconditionFailed, PreconditionRequired

# --- projects and protocols -------------------------------------------------------------------------------------------


class ProtocolRefused(InvalidInput):
    """A training protocol with a field or value that does not exist."""

    code = "protocol-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The training protocol cannot be used: {reason}.")


class LabelSchemaRefused(InvalidInput):
    """A label schema that no mask could follow."""

    code = "label-schema-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The label schema {reason}.")


class SchemaVersionStale(InvalidInput):
    """A mask was drawn under another version of the label schema than the project's present one."""

    code = "schema-version-stale"

    def __init__(self, seen: int, present: int) -> None:
        self.seen, self.present = seen, present
        super().__init__(f"The mask was drawn under version {seen} of the label schema; the project's is {present}.")


class BudgetRefused(InvalidInput):
    """A budget outside (0, 100] percent, or out of order."""

    code = "budget-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The budget cannot be used: {reason}.")


class ProjectSettingRefused(InvalidInput):
    """A setting of a project that is not of its form."""

    code = "project-setting-refused"

    def __init__(self, setting: str, rule: str, value: object) -> None:
        self.setting, self.rule, self.value = setting, rule, value
        super().__init__(f"The project's {setting} must be {rule}, not {str(value)[:100]!r}.")


class UnknownStrategy(InvalidInput):
    """No selection strategy has this name."""

    code = "unknown-strategy"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"There is no strategy {name[:100]!r}; known are {', '.join(known)}.")


class UnknownAblation(InvalidInput):
    """No ablation has this name."""

    code = "unknown-ablation"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"There is no ablation {name[:100]!r}; known are {', '.join(known)}.")


class ProjectNotFound(NotFound):
    """No project has this id or slug."""

    code = "project-not-found"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(f"There is no project {reference[:100]!r}.")


class RecordNotFound(NotFound):
    """No row of this kind has this id."""

    code = "record-not-found"

    def __init__(self, kind: str, reference: object) -> None:
        self.kind, self.reference = kind, str(reference)
        super().__init__(f"There is no {kind} {str(reference)[:100]!r}.")


class ProjectExists(Conflict):
    """The slug is taken."""

    code = "project-exists"

    def __init__(self, slug: str) -> None:
        self.slug = slug
        super().__init__(f"There is a project {slug!r} already.")


class ProjectPreconditionMissing(PreconditionRequired):
    """A change of a project says which settings it was made over."""

    code = "project-precondition-missing"

    def __init__(self) -> None:
        super().__init__("Send the project's ETag, as it was read, as If-Match: somebody else may be changing it too.")


class ProjectStale(PreconditionFailed):
    """The settings were changed meanwhile."""

    code = "project-stale"

    def __init__(self, current: str) -> None:
        self.current = current
        super().__init__("The project was changed meanwhile; read it again, then change it.")


# --- volumes ----------------------------------------------------------------------------------------------------------


class PatientSplitConflict(Conflict):
    """A patient belongs to one split only, or it would be both learned from and judged on."""

    code = "patient-split-conflict"

    def __init__(self, patient: str, present: str, asked: str) -> None:
        self.patient, self.present, self.asked = patient, present, asked
        super().__init__(f"Patient {patient!r} is in the {present} split already and cannot be in {asked} too.")


class VolumeExists(Conflict):
    """The patient has another volume of this name."""

    code = "volume-exists"

    def __init__(self, patient: str, name: str) -> None:
        self.patient, self.name = patient, name
        super().__init__(f"Patient {patient!r} has another volume {name!r} already.")


class VolumeCutAlready(Conflict):
    """The same file is there, cut into slices along another axis: what was drawn on them would lie wrong."""

    code = "volume-cut-already"

    def __init__(self, patient: str, name: str, axis: int) -> None:
        self.patient, self.name, self.axis = patient, name, axis
        super().__init__(f"Volume {name!r} of patient {patient!r} is there already, cut along axis {axis}.")


class PackNotRebuilt(Conflict):
    """The slices of a volume cannot be made anew from what is kept of it."""

    code = "pack-not-rebuilt"

    def __init__(self, patient: str, name: str, reason: str) -> None:
        self.patient, self.name, self.reason = patient, name, reason
        super().__init__(f"The slices of volume {name!r} of patient {patient!r} cannot be made anew: {reason}.")


class GroundTruthExists(Conflict):
    """Another ground truth of this kind is stored for the volume."""

    code = "ground-truth-exists"

    def __init__(self, volume: str, kind: str) -> None:
        self.volume, self.kind = volume, kind
        super().__init__(f"Volume {volume!r} has another {kind} ground truth already.")


class GroundTruthMissing(Conflict):
    """The oracle or an evaluation wants ground truth that was never given."""

    code = "ground-truth-missing"

    def __init__(self, volume: str, kind: str) -> None:
        self.volume, self.kind = volume, kind
        super().__init__(f"Volume {volume!r} has no {kind} ground truth.")


class CursorRefused(InvalidInput):
    """A cursor that no page of this list gave."""

    code = "cursor-refused"

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        super().__init__("The cursor is none of this list; take `next_cursor` of the page before, as it stands.")
