"""Model versions: what cannot be promoted."""

from __future__ import annotations

from app.errors.tree import Conflict


class ModelVersionIncomplete(Conflict):
    """A version can be promoted when all of its members are trained."""

    code = "model-version-incomplete"

    def __init__(self, number: int, members: int, wanted: int) -> None:
        self.number, self.members, self.wanted = number, members, wanted
        super().__init__(f"Model version {number} has {members} of {wanted} members; it is not trained to its end.")


class NoEarlierModel(Conflict):
    """There is no version before the one in use."""

    code = "no-earlier-model"

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"Model version {number} is in use and there is no earlier one to go back to.")
