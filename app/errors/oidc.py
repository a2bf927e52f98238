"""Signing in through another provider is not set up, not allowed, or not to be believed."""

from __future__ import annotations

from app.errors.tree import Conflict, Forbidden, NotFound, Unauthorized, Unavailable


class ProviderNotConfigured(NotFound):
    """No OpenID Connect provider is named in the settings."""

    code = "provider-not-configured"

    def __init__(self) -> None:
        super().__init__("This service signs nobody in through another provider.")


class ProviderSettingsRefused(Conflict):
    """The settings of the provider contradict each other, or would send secrets in the open."""

    code = "provider-settings-refused"

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(f"Signing in through another provider needs {rule}.")


class ProviderUnreachable(Unavailable):
    """The provider does not answer, or answers what OpenID Connect does not know."""

    code = "provider-unreachable"

    def __init__(self, what: str, reason: str) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"The identity provider gave no usable {what} ({reason}); try again, or sign in by password.")


class SignInNotBegun(Unauthorized):
    """No sign-in that this browser began waits for this state: forged, used already, or too old."""

    code = "sign-in-not-begun"

    def __init__(self) -> None:
        super().__init__("This sign-in was not begun in this browser, or took too long; begin again.")


class ProviderRefused(Unauthorized):
    """The provider itself says no."""

    code = "provider-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The identity provider refused: {reason[:100]!r}.")


class IdentityRefused(Unauthorized):
    """The provider's word on who signs in is forged, expired, or meant for somebody else."""

    code = "identity-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"What came from the identity provider is not to be believed: {reason}.")


class IdentityUnknown(Forbidden):
    """The provider knows this person, and this service has no account for them."""

    code = "identity-unknown"

    def __init__(self, subject: str) -> None:
        self.subject = subject
        super().__init__(f"No account here belongs to the subject {subject[:255]!r}; an administrator can link one.")
