"""Who asks is not known, may not do it, or is not to be believed."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict, Forbidden, InvalidInput, NotAllowed, NotFound, TooManyRequests, Unauthorized


class NotSignedIn(Unauthorized):
    """No session and no token, or one that is forged, expired or revoked: which, is not told."""

    code = "not-signed-in"

    def __init__(self) -> None:
        super().__init__("Sign in, or send a token that is valid: Authorization: Bearer <token>.")


class SignInFailed(Unauthorized):
    """Name or password is wrong, or the account disabled: which, is not told."""

    code = "sign-in-failed"

    def __init__(self) -> None:
        super().__init__("The name or the password is wrong.")


class RoleMissing(Forbidden):
    """The person's role in the project does not reach."""

    code = "role-missing"

    def __init__(self, needed: str) -> None:
        self.needed = needed
        super().__init__(f"This needs the role {needed} or more in the project.")


class AdministratorOnly(Forbidden):
    """Only who runs the service may do this."""

    code = "administrator-only"

    def __init__(self) -> None:
        super().__init__("Only an administrator of the service may do this.")


class ScopeMissing(Forbidden):
    """The token's scope does not reach."""

    code = "scope-missing"

    def __init__(self, needed: str) -> None:
        self.needed = needed
        super().__init__(f"This needs a token of scope {needed} or more.")


class NotInAnothersName(Forbidden):
    """Somebody acts in the name of somebody else without being a manager."""

    code = "not-in-anothers-name"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Only a manager of the project may act in the name of {name[:100]!r}.")


class NotAnAnnotator(InvalidInput):
    """Work was to be entered in a name that no annotator of the project has."""

    code = "not-an-annotator"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"No member of the project with the role of an annotator is called {name[:100]!r}.")


class SignedByAnother(Forbidden):
    """A decision was to be signed with another name than that of the account that takes it."""

    code = "signed-by-another"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"A decision is signed by who takes it, not with another name ({name[:100]!r}).")


class CrossSiteRequest(Forbidden):
    """A page of another site sent the request in the name of who is signed in here."""

    code = "cross-site-request"

    def __init__(self) -> None:
        super().__init__("The request comes from a page of another site; nothing was changed.")


class HostRefused(Forbidden):
    """A service without accounts was reached under a name or from a place that is not this machine's own."""

    code = "host-refused"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"This service has no accounts and answers this machine alone, not {what[:100]!r}.")


class MethodRefused(NotAllowed):
    """The path is known, and nobody may do this with it."""

    code = "method-not-allowed"

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        self.method, self.allowed = method, tuple(allowed)
        super().__init__(f"{method[:20]} is not done here; {', '.join(allowed)} is.")


class RouteNotFound(NotFound):
    """No route has this path, or nobody said who may call it."""

    code = "route-not-found"

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"There is no route {path[:100]!r}.")


class TooManySignIns(TooManyRequests):
    """Sign-in failed too often for this name or from this address."""

    code = "too-many-sign-ins"

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"Signing in failed too often; try again in {retry_after_s} seconds.")


class AccountRefused(InvalidInput):
    """A field of an account or a token that is not of its form."""

    code = "account-refused"

    def __init__(self, what: str, rule: str) -> None:
        self.what, self.rule = what, rule
        super().__init__(f"The {what} must be {rule}.")


class NameTaken(Conflict):
    """An account or a token has this name already."""

    code = "name-taken"

    def __init__(self, what: str, name: str) -> None:
        self.what, self.name = what, name
        super().__init__(f"There is {what} {name!r} already.")


class LastOwner(Conflict):
    """Without this person nobody could manage what they own."""

    code = "last-owner"

    def __init__(self, of: str) -> None:
        self.of = of
        super().__init__(f"This is the last owner of {of}; name another one first.")


class AccountsNeeded(Conflict):
    """Without accounts a service that others reach would let them do everything."""

    code = "accounts-needed"

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(f"A service that listens on {host} needs accounts: set NEXTSLICE_SIGN_IN=accounts.")
