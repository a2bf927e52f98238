"""A zip whose bytes depend on nothing but what is put in, and that knows the checksum of each of its files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import IO, Any, Self

_NO_DATE = (1980, 1, 1, 0, 0, 0)


class Archive:
    """Files are stored without compression: those that are large are compressed by their own formats."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)
        self.checksums: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()

    def add(self, name: str, content: bytes) -> str:
        """Put a file in and give back its name; a name is used once."""
        if name in self.checksums:
            raise ValueError(f"{name} is in the archive already")
        self._zip.writestr(zipfile.ZipInfo(name, _NO_DATE), content)
        self.checksums[name] = hashlib.sha256(content).hexdigest()
        return name

    def add_json(self, name: str, content: Any) -> str:
        """Put a JSON file in, its keys in order."""
        return self.add(name, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Write the end of the zip; a second time it does nothing."""
        self._zip.close()
