"""`nextslice backup` and `nextslice restore`: database, blobs and key in one file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.db.session import Database
from app.services.backups import back_up, restore as restore_backup
from app.settings import settings
from app.storage.stores import open_store


def backup(file: Annotated[Path, typer.Argument(help="The tar file to write.")]) -> None:
    """Write everything into one file while the service works; not 0 is the status when a blob is damaged or gone."""
    knobs = settings()
    database = Database(knobs.database)
    try:
        done = back_up(database, open_store(knobs), knobs, file)
    finally:
        database.dispose()
    for key in done.left_out:
        typer.echo(f"{key}: damaged or gone, and not in the back-up", err=True)
    typer.echo(f"{file} is written: the database and {done.blobs} blobs, {done.bytes / 1e6:.1f} MB.")
    if done.left_out:
        raise typer.Exit(1)


def restore(file: Annotated[Path, typer.Argument(help="What `nextslice backup` wrote.")]) -> None:
    """Read a back-up into an empty database and its blobs into the store; start the service afterwards."""
    knobs = settings()
    database = Database(knobs.database)
    try:
        done = restore_backup(database, open_store(knobs), knobs, file)
    finally:
        database.dispose()
    typer.echo(f"{file} is restored: the database and {done.blobs} blobs, {done.bytes / 1e6:.1f} MB.")
