"""`nextslice gc`, `verify` and `rebuild`: the blobs of this installation, whichever store they lie in.

What reaches the database is imported when a command runs, so that the other commands start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import PackNotRebuilt
from app.settings import settings
from app.storage.blobs import ORPHAN_GRACE_S, BlobStore
from app.storage.stores import open_store

if TYPE_CHECKING:
    from app.db.session import Database

_HOUR_S = 3600.0


def gc(
    delete: Annotated[bool, typer.Option("--delete", help="Remove them; without it they are only listed.")] = False,
    grace_h: Annotated[
        float, typer.Option(min=0, help="Blobs younger than this (now, or when a job that runs began) stay, hours.")
    ] = ORPHAN_GRACE_S / _HOUR_S,
) -> None:
    """Find the blobs that no row names, and remove them if asked to."""
    from app.services.housekeeping import find_orphans, remove_orphans

    database, blobs = _open_installation()
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


def purge(
    deletion: Annotated[
        str, typer.Argument(help="Id of one deletion, to purge it now; default: what is past its retention.")
    ] = "",
) -> None:
    """Remove for good what was deleted: rows, pixels, original files and all that was made of them."""
    from app.services.deletions import find_deletion
    from app.services.housekeeping import remove_purged
    from app.services.purging import Sweep, purge_due, purge_one

    database, blobs = _open_installation()
    if deletion:
        with database.reading() as session:
            chosen = find_deletion(session, deletion).id
        told = purge_one(database, blobs, chosen)
        remove_purged(database, blobs)
        swept = Sweep([] if told is None else [told])
    else:
        swept = purge_due(database, blobs)
    for each in swept.purged:
        typer.echo(f"{each} purged.")
    for each in swept.waiting:
        typer.echo(f"{each} waits: a job of its project is not done.", err=True)
    waits = f", {len(swept.waiting)} wait" if swept.waiting else ""
    typer.echo(f"{len(swept.purged)} deletions purged{waits}.")


def verify() -> None:
    """Read back every blob that a row names; a status that is not 0 when one is missing or damaged."""
    from app.services.housekeeping import find_bad_blobs

    checked, bad = 0, 0
    for _, found in find_bad_blobs(*_open_installation()):
        checked += 1
        if found is not None:
            bad += 1
            typer.echo(f"{found.key}: {found.reason} (named by {found.named_by})", err=True)
    typer.echo(f"{checked} blobs read back, {bad} of them missing or damaged.")
    if bad:
        raise typer.Exit(1)


def rebuild(
    project: Annotated[str, typer.Option(help="Slug or id; default: all projects.")] = "",
    volume: Annotated[str, typer.Option(help="Id of one volume.")] = "",
    sound: Annotated[bool, typer.Option("--all", help="Sound ones too, not only missing and damaged ones.")] = False,
) -> None:
    """Make the slices of volumes anew from the files that were taken in; a status that is not 0 when one cannot be."""
    from app.db.audit import Trace, traced
    from app.db.models import Volume
    from app.services import packs
    from app.services.projects import find_project
    from app.services.volumes import find_volume

    database, blobs = _open_installation()
    with database.reading() as session:
        within = find_project(session, project) if project else None
        chosen = [find_volume(session, volume).id] if volume else packs.list_packs(session, within)
    rebuilt, failed = 0, 0
    for each in chosen:
        with database.reading() as session:
            row = session.get_one(Volume, each)
            told = f"{row.patient.code} {row.name}"
            trace = Trace("command line", None, "nextslice rebuild", f"volume {each}", row.project_id, "", "")
            if not sound and packs.is_pack_sound(blobs, row):
                continue
        try:
            with traced(trace):
                pack = packs.rebuild_pack(database, blobs, each)
        except PackNotRebuilt as refusal:
            failed += 1
            typer.echo(str(refusal), err=True)
        else:
            rebuilt += 1
            typer.echo(f"{told}: {pack.depth} slices made anew, {pack.key}")
    typer.echo(f"{len(chosen)} volumes looked at, {rebuilt} packs rebuilt, {failed} failed.")
    if failed:
        raise typer.Exit(1)


def _open_installation() -> tuple[Database, BlobStore]:
    from app.db.session import Database

    knobs = settings()
    return Database(knobs.database), open_store(knobs)
