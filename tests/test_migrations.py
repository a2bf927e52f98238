"""The migrations make what the models say, on both engines."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg.sql import SQL, Identifier
from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint

from app.db.migrate import differences, head_revision, migrate
from app.db.models import Base
from app.db.session import Database
from app.errors import DatabaseEncodingRefused
from tests.conftest import POSTGRES_SERVER


def test_a_migrated_database_has_what_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        assert differences(connection) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    assert migrate(database) == head_revision()


def test_a_sqlite_file_of_the_first_release_keeps_its_rows_through_every_later_migration(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[1] / "migrations"))
    project, patient = "01" * 16, "02" * 16
    with database.write_engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO projects (id, slug, name, label_schema, supervision, strategy, budgets, seed, protocol,"
            " auto_train, auto_propose, created_at) VALUES"
            f" ('{project}', 'old', 'Old', '[]', 'full', 'gcl', '[2]', 0, '{{}}', 1, 0, '2026-01-01')"
        )
        connection.exec_driver_sql(
            "INSERT INTO patients (id, project_id, code, split, attributes)"
            f" VALUES ('{patient}', '{project}', 'p1', 'train', '{{}}')"
        )
    assert migrate(database) == head_revision()
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT slug FROM projects").scalars().all() == ["old"]
        assert connection.exec_driver_sql("SELECT project_id FROM patients").scalars().all() == [project]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
    database.dispose()


def migrate_at_once(url: str) -> list[str]:
    """What four starters find that open the database at the same moment."""

    def start(_number: int) -> str:
        database = Database(url)
        revision = migrate(database)
        database.dispose()
        return revision

    with ThreadPoolExecutor(4) as starters:
        return list(starters.map(start, range(4)))


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert migrate_at_once(url) == [head_revision()] * 4


def test_a_new_sqlite_file_can_be_opened_by_many_at_once(tmp_path: Path) -> None:
    """Before it has its write-ahead log, SQLite refuses those who meet instead of letting them wait."""
    for number in range(20):
        gate = Barrier(8)
        url = f"sqlite:///{tmp_path / f'{number}.db'}"

        def open_it(_number: int, url: str = url, gate: Barrier = gate) -> str:
            database = Database(url)
            gate.wait()
            with database.engine.connect() as connection:
                mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            database.dispose()
            return str(mode)

        with ThreadPoolExecutor(8) as openers:
            assert list(openers.map(open_it, range(8))) == ["wal"] * 8


def test_postgres_processes_that_start_at_once_migrate_once() -> None:
    name = f"nextslice_test_{uuid.uuid4().hex}"
    try:
        with psycopg.connect(POSTGRES_SERVER, autocommit=True, connect_timeout=3) as connection:
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(name)))
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on this machine ({str(error).splitlines()[0]})")
    url = f"{POSTGRES_SERVER.rsplit('/', 1)[0]}/{name}"
    found = migrate_at_once(url)
    with psycopg.connect(POSTGRES_SERVER, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
    assert found == [head_revision()] * 4


def test_a_database_without_an_encoding_is_refused_in_one_sentence() -> None:
    name = f"nextslice_test_{uuid.uuid4().hex}"
    try:
        with psycopg.connect(POSTGRES_SERVER, autocommit=True, connect_timeout=3) as connection:
            make = SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
            connection.execute(make.format(Identifier(name)))
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on this machine ({str(error).splitlines()[0]})")
    database = Database(f"{POSTGRES_SERVER.rsplit('/', 1)[0]}/{name}")
    with pytest.raises(DatabaseEncodingRefused, match="encoding SQL_ASCII, but UTF8 is needed"):
        migrate(database)
    database.dispose()
    with psycopg.connect(POSTGRES_SERVER, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def test_every_reference_to_a_growing_table_has_an_index() -> None:
    """Without one, each look-up by it and each row deleted over there reads the whole table."""
    bare = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.foreign_keys and column.name not in leading_columns(table)
    }
    assert bare == {"promotions.round_id"}  # one row a promotion: a handful a project


def leading_columns(table: Table) -> set[str]:
    """The columns that an index of the table begins with."""
    kept = [list(index.columns) for index in table.indexes]
    kept += [list(key.columns) for key in table.constraints if isinstance(key, UniqueConstraint | PrimaryKeyConstraint)]
    return {columns[0].name for columns in kept if columns}
