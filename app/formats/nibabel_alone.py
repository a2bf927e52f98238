"""nibabel without what it loads on the side."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


def import_nibabel() -> ModuleType:
    """Give the module `nibabel`, loaded without pydicom unless that is there already.

    nibabel loads pydicom wherever it is installed, for header extensions that nothing here reads: 30 MB in every API
    process that ever saw a NIfTI file. It is made to do without it, as where pydicom is not installed; whoever needs
    pydicom still imports it, at the same time too.
    """
    if "nibabel" in sys.modules or "pydicom" in sys.modules:
        return importlib.import_module("nibabel")
    hiding = _HidesPydicom(threading.get_ident())
    sys.meta_path.insert(0, hiding)
    try:
        return importlib.import_module("nibabel")
    finally:
        sys.meta_path.remove(hiding)


class _HidesPydicom(MetaPathFinder):
    """Says to one thread that there is no pydicom."""

    def __init__(self, thread: int) -> None:
        self._thread = thread

    def find_spec(self, fullname: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> None:
        """Raise for pydicom in that thread; everything else is left to the other finders."""
        if fullname == "pydicom" and threading.get_ident() == self._thread:
            raise ModuleNotFoundError("pydicom is not needed here", name=fullname)
