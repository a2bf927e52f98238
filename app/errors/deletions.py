"""Refusals of deleting, restoring and purging."""

from __future__ import annotations

from app.errors.tree import Conflict


class JobsAtWork(Conflict):
    """Something of the project is being worked on."""

    code = "jobs-at-work"

    def __init__(self, kind: str, state: str) -> None:
        self.kind, self.state = kind, state
        super().__init__(f"A job of the project ({kind}) is {state}; wait for it or cancel it first.")


class StillDeleted(Conflict):
    """What would be made, or restored, is or belongs to something that was deleted and is not purged yet."""

    code = "still-deleted"

    def __init__(self, what: str, name: str) -> None:
        self.what, self.name = what, name
        super().__init__(f"The {what} {name!r} was deleted and is not purged yet; restore or purge it first.")
