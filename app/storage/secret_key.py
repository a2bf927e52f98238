"""The key that pseudonyms are made with: in a file or the environment, never in the database that holds the names."""

from __future__ import annotations

import os
import secrets

from app.settings import Settings

KEY_FILE = "pseudonym.key"


def pseudonym_key(knobs: Settings, scope: str) -> bytes:
    """The key for one project (`scope`), the same at each call: codes of two projects cannot be laid side by side.

    Without `NEXTSLICE_PSEUDONYM_KEY` a random one is made once and kept in the service's folder, for its owner's eyes.
    """
    return scope.encode() + b"\0" + (knobs.pseudonym_key.encode() or _kept(knobs))


def _kept(knobs: Settings) -> bytes:
    path = knobs.home / KEY_FILE
    try:
        return path.read_bytes()
    except FileNotFoundError:
        knobs.home.mkdir(parents=True, exist_ok=True)
    finished = path.with_name(f"{KEY_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(finished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, fails where another process was first: then its key is the one.
        os.link(finished, path)
    except FileExistsError:
        pass
    finally:
        finished.unlink()
    return path.read_bytes()
