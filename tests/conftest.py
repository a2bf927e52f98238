"""Databases and brokers for tests: SQLite always, PostgreSQL and Redis where a server answers on this machine."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.engine import make_url

from app.db.models import Base
from app.db.session import Database

POSTGRES_SERVER = os.environ.get("NEXTSLICE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_SERVER = os.environ.get("NEXTSLICE_TEST_REDIS", "redis://127.0.0.1:6379")
REDIS_NUMBERS = range(1, 16)
REDIS_CLAIM_S = 600


def make_schema(database: Database) -> None:
    """Make every table."""
    Base.metadata.create_all(database.engine)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema in it, copied for each test: making the tables takes longer than a copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    _make_schema_in(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a PostgreSQL database with the schema in it; skips where no server answers."""
    name = f"nextslice_template_{uuid.uuid4().hex}"
    try:
        _administer(f'CREATE DATABASE "{name}" TEMPLATE template0')
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on this machine ({str(error).splitlines()[0]})")
    _make_schema_in(_postgres_url(name))
    yield name
    _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of this test's own SQLite file, schema included."""
    path = tmp_path / "nextslice.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_template: str) -> Iterator[str]:
    """The URL of this test's own PostgreSQL database, schema included; dropped afterwards."""
    name = f"nextslice_test_{uuid.uuid4().hex}"
    _administer(f'CREATE DATABASE "{name}" TEMPLATE "{postgres_template}" STRATEGY file_copy')
    yield _postgres_url(name)
    _administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of this test's own database, once for each engine."""
    url: str = request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """This test's own database, once for each engine."""
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A numbered database of the machine's Redis that no other test uses meanwhile; emptied afterwards."""
    for number in REDIS_NUMBERS:
        url = f"{REDIS_SERVER}/{number}"
        with redis.Redis.from_url(url) as server:
            try:
                claimed = server.set("nextslice-test", "taken", nx=True, ex=REDIS_CLAIM_S)
            except redis.ConnectionError as error:
                pytest.skip(f"no Redis on this machine ({error})")
            if claimed:
                yield url
                server.flushdb()
                return
    pytest.skip(f"all {len(REDIS_NUMBERS)} numbered databases of Redis are taken")


def _make_schema_in(url: str) -> None:
    database = Database(url)
    make_schema(database)
    database.dispose()


def _postgres_url(name: str) -> str:
    return make_url(POSTGRES_SERVER).set(database=name).render_as_string(hide_password=False)


def _administer(statement: str) -> None:
    with psycopg.connect(POSTGRES_SERVER, autocommit=True, connect_timeout=3) as connection:
        connection.execute(statement)
