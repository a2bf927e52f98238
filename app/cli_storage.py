"""`nextslice gc` and `nextslice verify`: the blobs of this installation, whichever store they lie in."""

from __future__ import annotations

from typing import Annotated

import typer

from app.db.session import Database
from app.services.housekeeping import ORPHAN_GRACE_S, find_bad_blobs, find_orphans, remove_orphans
from app.settings import settings
from app.storage.stores import open_store

_HOUR_S = 3600.0


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
    grace_h: Annotated[float, typer.Option(min=0, help="Blobs younger than this stay, hours.")] = ORPHAN_GRACE_S
    / _HOUR_S,
) -> None:
    """Find the blobs that no row names, and remove them if asked to."""
    knobs = settings()
    database, blobs = Database(knobs.database), open_store(knobs)
    sweep = remove_orphans if delete else find_orphans
    found = sweep(database, blobs, grace_h * _HOUR_S)
    for blob in found:
        typer.echo(f"{blob.key}  {blob.size_bytes} bytes")
    unfinished = blobs.sweep_unfinished(grace_h * _HOUR_S) if delete else 0
    megabytes = sum(blob.size_bytes for blob in found) / 1e6
    done = "removed" if delete else "found; --delete removes them"
    typer.echo(f"{len(found)} blobs without a row, {megabytes:.1f} MB: {done}.")
    if unfinished:
        typer.echo(f"{unfinished} unfinished files removed.")


def verify() -> None:
    """Read back every blob that a row names; a status that is not 0 when one is missing or damaged."""
    knobs = settings()
    checked, bad = 0, 0
    for _, found in find_bad_blobs(Database(knobs.database), open_store(knobs)):
        checked += 1
        if found is not None:
            bad += 1
            typer.echo(f"{found.key}: {found.reason} (named by {found.named_by})", err=True)
    typer.echo(f"{checked} blobs read back, {bad} of them missing or damaged.")
    if bad:
        raise typer.Exit(1)
