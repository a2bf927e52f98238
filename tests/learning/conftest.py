"""What several learning tests share."""

import warnings
from importlib import import_module

import pytest


def _import_quietly(name: str) -> object:
    """MONAI takes seconds to import and warns about its own dependencies; only tests that name it pay for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


@pytest.fixture(scope="session")
def monai_losses() -> object:
    return _import_quietly("monai.losses")


@pytest.fixture(scope="session")
def monai_metrics() -> object:
    return _import_quietly("monai.metrics")
