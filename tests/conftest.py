"""Databases, brokers and stores for tests: PostgreSQL and Redis where a server answers on this machine."""

from __future__ import annotations

import io
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import httpx
import psycopg
import pytest
import redis
from moto.server import ThreadedMotoServer
from sqlalchemy.engine import make_url

from app.db.migrate import migrate
from app.db.session import Database
from app.log import configure_logging

POSTGRES_SERVER = os.environ.get("NEXTSLICE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
REDIS_SERVER = os.environ.get("NEXTSLICE_TEST_REDIS", "redis://127.0.0.1:6379")
REDIS_NUMBERS = range(1, 16)
REDIS_CLAIM_S = 600


def make_schema(database: Database) -> None:
    """Make every table, by the real migrations."""
    migrate(database)


@pytest.fixture(scope="session", autouse=True)
def logging_as_in_service() -> None:
    """Logs are made as the service makes them, and kept out of the tests' output."""
    configure_logging(stream=io.StringIO())


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema in it, copied for each test: making the tables takes longer than a copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    _make_schema_in(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_of_session() -> Iterator[str]:
    """The URL of a PostgreSQL database of this test run's own, dropped afterwards; skips where no server answers."""
    name = f"nextslice_test_{uuid.uuid4().hex}"
    try:
        _administer(POSTGRES_SERVER, f'CREATE DATABASE "{name}" TEMPLATE template0')
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on this machine ({str(error).splitlines()[0]})")
    url = make_url(POSTGRES_SERVER).set(database=name).render_as_string(hide_password=False)
    _make_schema_in(url)
    yield url
    _administer(POSTGRES_SERVER, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of this test's own SQLite file, schema included."""
    path = tmp_path / "nextslice.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres_of_session: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the schema and no rows; making one a test would take a second each."""
    yield postgres_of_session
    _administer(postgres_of_session, _DISCONNECT_OTHERS, _DELETE_ALL_ROWS)


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 double that this test run alone uses; it speaks the protocol over a real socket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request is of no use to anybody
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of this test's own; the environment says where it is and how to sign in."""
    name = f"nextslice-{uuid.uuid4().hex}"
    httpx.put(f"{s3_server}/{name}").raise_for_status()
    for variable, value in (
        ("AWS_ENDPOINT_URL", s3_server),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(variable, value)
    return name


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


def _administer(url: str, *statements: LiteralString) -> None:
    with psycopg.connect(url, autocommit=True, connect_timeout=3) as connection:
        for statement in statements:
            connection.execute(statement)


# A worker that a test killed may have left a transaction open, whose locks would stand in the way.
_DISCONNECT_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'
"""
_DELETE_ALL_ROWS = """
    DO $$
    DECLARE name text;
    BEGIN
        SET LOCAL synchronous_commit = off;
        SET LOCAL session_replication_role = replica;  -- foreign keys need not be looked at where every row goes
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version' LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
    END $$
"""
