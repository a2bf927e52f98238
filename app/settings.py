"""Every knob of the service, read once from the environment."""

from __future__ import annotations

import re
import sys
import tempfile
from functools import cached_property, lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_CODE = Path(__file__).resolve().parents[1]


class Settings(BaseSettings):
    """Settings of one process; an unset URL means the embedded part that needs nothing installed."""

    model_config = SettingsConfigDict(env_prefix="NEXTSLICE_", env_file=None, extra="ignore", frozen=True)

    home: Path = Field(default=Path("nextslice-data"), description="Folder of the embedded database, blobs and queues.")
    database_url: str = Field(
        default="",
        validation_alias=AliasChoices("NEXTSLICE_DATABASE_URL", "DATABASE_URL", "database_url"),
        description="SQLAlchemy URL; empty: SQLite in `home`.",
    )
    broker_url: str = Field(
        default="",
        validation_alias=AliasChoices("NEXTSLICE_BROKER_URL", "BROKER_URL", "CELERY_BROKER_URL", "broker_url"),
        description="Celery broker; empty: a folder in `home`.",
    )
    blob_url: str = Field(
        default="", description="s3://bucket/prefix, with the usual AWS_* variables; empty: a folder in `home`."
    )
    host: str = Field(default="127.0.0.1", description="Address the embedded service binds to.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the embedded service listens on.")
    sign_in: Literal["auto", "local", "accounts"] = Field(
        default="auto",
        description="local: whoever sits at this machine is the owner; accounts: people sign in; "
        "auto: local where `host` is a loopback address, else accounts.",
    )
    session_s: float = Field(default=12 * 3600.0, gt=0, description="How long a sign-in lasts, seconds.")
    public_url: str = Field(
        default="", description="Address that browsers use; https:// there marks the session's cookie Secure."
    )
    oidc_issuer: str = Field(default="", description="Issuer URL of an OpenID Connect provider; empty: none.")
    oidc_client_id: str = Field(default="", description="What the provider calls this service.")
    oidc_client_secret: str = Field(default="", repr=False, description="Its secret there; empty: a public client.")
    oidc_name: str = Field(default="single sign-on", max_length=60, description="What the sign-in screen calls it.")
    oidc_accounts: Literal["linked", "email", "create"] = Field(
        default="linked",
        description="Who may come in: linked: whom an administrator linked; email: also whose verified e-mail is the "
        "name of an account; create: also who has none, which is made then, without any role.",
    )
    job_lease_s: float = Field(default=20.0, gt=0, description="A worker silent for so long has lost its job, seconds.")
    sweep_s: float = Field(default=2.0, gt=0, description="How often forgotten jobs are looked for, seconds.")
    job_attempts: int = Field(default=3, ge=1, description="A job whose worker died is taken up so often in all.")
    checkpoint_s: float = Field(default=30.0, ge=0, description="How often a training keeps its state, seconds.")
    annotation_lease_s: float = Field(
        default=900.0, gt=0, description="A slice is held so long after the last edit, or longer for a slow annotator."
    )
    heartbeat_s: float = Field(
        default=90.0, gt=0, description="A client that sends heartbeats loses its slices when silent for so long."
    )
    max_upload_bytes: int = Field(default=1 << 30, gt=0, description="Largest upload accepted, bytes.")
    pseudonym_key: str = Field(
        default="", repr=False, description="Secret that pseudonyms are made with; empty: a file in `home`."
    )
    retention_days: float = Field(
        default=30.0, ge=0, description="What was deleted can be restored for so long; then it is purged."
    )
    import_root: Path | None = Field(default=None, description="Folder whose content may be imported by path.")
    webhook_retry_s: float = Field(
        default=10.0, gt=0, description="First pause of a failed webhook; each is 6 times it."
    )
    webhook_private: bool = Field(default=False, description="Allow webhooks to private and loopback addresses.")
    free_disk_bytes: int = Field(default=1 << 28, ge=0, description="Below this `home` is too full to be ready, bytes.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="What workers learn on: cpu, cuda or cuda:1; auto: the first GPU, else the CPU.",
    )
    torch_threads: int = Field(default=0, ge=0, description="Threads of a worker's torch; 0: torch decides.")
    weights_folder: Path | None = Field(
        default=None,
        validation_alias=AliasChoices("NEXTSLICE_WEIGHTS", "weights_folder"),
        description="Folder with pretrained weight files (resnet18*.pth).",
    )

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        if self.database_url:
            # SQLAlchemy 2.1 reads `postgresql://` as psycopg 3; the older short form is still common in hosting.
            return self.database_url.replace("postgres://", "postgresql://", 1)
        return f"sqlite:///{(self.home / 'nextslice.db').resolve()}"

    @property
    def binds_loopback(self) -> bool:
        """True when no other machine can reach `host`."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def has_accounts(self) -> bool:
        """True when people sign in, False when the local user is the owner of everything."""
        return self.sign_in == "accounts" or (self.sign_in == "auto" and not self.binds_loopback)

    @property
    def is_sqlite(self) -> bool:
        """True when the database is a local SQLite file."""
        return self.database.startswith("sqlite")

    @property
    def broker_folder(self) -> Path:
        """Where the embedded broker keeps its messages."""
        return (self.home / "broker").resolve()

    @property
    def blob_folder(self) -> Path:
        """Where blobs are kept."""
        return (self.home / "blobs").resolve()

    def hide_folders(self, text: str) -> str:
        """The text with the folders of this service by their names: where they lie is nobody's business outside."""
        for folder, name in self._folders:
            # Whole folders: /data is not in /database, nor in https://pacs/data.
            text = re.sub(rf"(?<![\w.:/-]){re.escape(folder)}(?![\w-])", name, text)
        return text

    @cached_property
    def _folders(self) -> tuple[tuple[str, str], ...]:
        """(absolute path, name), inner folders first."""
        known = {tempfile.gettempdir(): "<temporary>", sys.prefix: "<python>", str(_CODE): "<code>"}
        for folder, name in ((self.weights_folder, "weights"), (self.import_root, "imports"), (self.home, "home")):
            if folder is not None:
                known |= dict.fromkeys((str(folder.absolute()), str(folder.resolve())), f"<{name}>")
        # A folder at the top, such as /, is part of every path and says nothing.
        return tuple(
            sorted(((path, name) for path, name in known.items() if len(path) > 1), key=_by_length, reverse=True)
        )


def _by_length(folder: tuple[str, str]) -> int:
    return len(folder[0])


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process, read from the environment at the first call."""
    return Settings()
