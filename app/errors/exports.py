"""Exports that cannot be made."""

from __future__ import annotations

from app.errors.tree import Conflict, InvalidInput, NextSliceError


class ExportRefused(InvalidInput):
    """An export that no file could hold."""

    code = "export-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The export cannot be made: {reason}.")


class VolumeNotExportable(InvalidInput):
    """A volume that a format cannot hold; the others are written without it."""

    code = "volume-not-exportable"

    def __init__(self, patient: str, volume: str, reason: str) -> None:
        self.patient, self.volume, self.reason = patient, volume, reason
        super().__init__(f"The volume {volume} of {patient} cannot be written: {reason}.")


class NothingToExport(Conflict):
    """A project in which nobody annotated and nothing is predicted."""

    code = "nothing-to-export"

    def __init__(self, project: str) -> None:
        self.project = project
        super().__init__(f"In the project {project} nothing is annotated or predicted yet.")


class RangeNotSatisfiable(NextSliceError):
    """A range of a file that begins behind its end."""

    code = "range-not-satisfiable"

    def __init__(self, begin: int, size: int) -> None:
        self.begin, self.size = begin, size
        super().__init__(f"The file has {size} bytes; a range from byte {begin} on is outside of it.")
