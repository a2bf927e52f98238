"""The command line: `nextslice up | migrate | import | export | gc | verify | rebuild | bench run | ...`."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.table import Table

from app import cli_backup, cli_bench, cli_storage
from app.cli_import import ask_axes, tell_import
from app.cli_people import token_commands, user_commands
from app.cli_terminal import Url, by_share, log_file, out, progress, read_numbers, read_object, service
from app.client import Imported, import_listing, label_schema_of
from app.datasets.records import DatasetListing
from app.errors import NextSliceError
from app.log import configure_logging, get_log
from app.names import STRATEGIES, ExportFormat, Queue, Scribbles, Supervision
from app.settings import Settings, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(cli_bench.bench, name="bench")
app.add_typer(user_commands, name="user")
app.add_typer(token_commands, name="token")
app.command()(cli_storage.gc)
app.command()(cli_storage.verify)
app.command()(cli_storage.purge)
app.command()(cli_storage.rebuild)
app.command()(cli_backup.backup)
app.command()(cli_backup.restore)


def main() -> None:
    """Run a command; what is refused ends as one sentence on standard error and a status that is not 0."""
    try:
        app(standalone_mode=True)
    except NextSliceError as error:
        typer.echo(f"nextslice: {error}", err=True)
        sys.exit(1)


@app.command()
def up(
    home: Annotated[Path | None, typer.Option(help="Folder for everything that is stored.")] = None,
    host: Annotated[str | None, typer.Option()] = None,
    port: Annotated[int | None, typer.Option()] = None,
    workers: Annotated[
        bool | None, typer.Option(help="Start workers too; default: with the embedded database only.")
    ] = None,
    demo: Annotated[bool, typer.Option(help="Fill an empty service with a demo project.")] = True,
) -> None:
    """Start the whole service on this machine and stay until Ctrl+C."""
    # What imports make stays for good; looked through again and again while it grows, it took a fifth of the start.
    gc.disable()
    from app.embedded import make_demo_project, running_service

    gc.enable()
    given = {"home": home, "host": host, "port": port}
    knobs = Settings.model_validate(
        settings().model_dump() | {name: value for name, value in given.items() if value is not None}
    )
    with_workers = knobs.is_sqlite if workers is None else workers
    configure_logging()  # without workers this is one of several processes, and who supervises it collects its log
    with (
        log_file(knobs) if with_workers else nullcontext(),
        running_service(knobs, tuple(Queue) if with_workers else ()) as url,
    ):
        # Where no person sits, whoever collects this process's log reads events, not sentences.
        tell = out.print if with_workers or sys.stdout.isatty() else get_log(__name__).info
        tell(f"NextSlice is ready: {url}   (API: {url}/docs, data: {knobs.home.resolve()})")
        if knobs.has_accounts:
            _tell_of_accounts(knobs, tell)
        elif demo and with_workers:
            make_demo_project(url, knobs)
            out.print("The demo project is there; its first slices are being proposed. Ctrl+C stops.")
        _wait_for_signal()


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.db.migrate import migrate as run_migrations
    from app.db.session import Database, wait_until_reachable

    configure_logging()
    database = Database(settings().database)
    wait_until_reachable(database)
    out.print(f"The database is at revision {run_migrations(database)}.")


@app.command("import")
def import_dataset(
    name: Annotated[
        str, typer.Argument(help="Kind of data set, e.g. acdc, nifti, dicom or mixed; auto: told by the layout.")
    ],
    path: Annotated[Path, typer.Argument(help="Its folder, a zip, or a single file.")],
    project: Annotated[str, typer.Option(help="Slug of the project; it is made if it is not there.")],
    supervision: Annotated[Supervision, typer.Option()] = Supervision.FULL,
    strategy: Annotated[str, typer.Option()] = "gcl",
    budgets: Annotated[str, typer.Option(help="Cumulative percent, comma-separated.")] = "2,3,4,5",
    preset: Annotated[str, typer.Option(help="Training protocol.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the split, where the data set has none, and of the project.")] = 0,
    axis: Annotated[int | None, typer.Option(help="Axis of the files to cut slices along: 0, 1 or 2.")] = None,
    untouched: Annotated[bool, typer.Option(help="Keep DICOM files with all that they say of people.")] = False,
    scribbles: Annotated[Scribbles, typer.Option(help="simulate: drawn from the masks where there are none.")] = (
        Scribbles.GIVEN
    ),
    strategy_settings: Annotated[str, typer.Option(help="JSON; /v1/strategies lists what each takes.")] = "{}",
    url: Url = "",
) -> None:
    """Take a data set into a project."""
    from app.datasets.inputs import input_folder, layout_of
    from app.datasets.registry import list_dataset
    from app.datasets.scribbles import with_simulated_scribbles
    from app.datasets.upload import Privacy
    from app.storage.secret_key import pseudonym_key

    privacy = Privacy(pseudonym_key(settings(), project), untouched)
    with input_folder(path) as (folder, unpacked), service(url, settings(), ()) as client:
        listing = list_dataset(layout_of(name, folder), folder, seed=seed, key=privacy.key)
        listing = replace(listing, problems=(*unpacked, *listing.problems))
        if scribbles == Scribbles.SIMULATE:
            listing = with_simulated_scribbles(listing, seed)
        if client.find_project(project) is None:
            client.post(
                "/v1/projects",
                {
                    "slug": project,
                    "name": f"{listing.name}: {path.resolve().name}",
                    "label_schema": label_schema_of(listing),
                    "supervision": supervision,
                    "strategy": strategy,
                    "budgets": read_numbers(budgets),
                    "preset": preset,
                    "seed": seed,
                    "strategy_settings": read_object(strategy_settings),
                },
            )

        def send(part: DatasetListing, axis: int | None) -> Imported:
            with progress() as tell:
                return import_listing(client, project, part, by_share(tell), privacy, axis)

        imported = send(listing, axis)
        for cut, names, volumes in ask_axes(imported):
            imported.settle(names, send(replace(listing, volumes=volumes), cut))
        found = client.get(f"/v1/projects/{project}")
    tell_import(out, listing, imported, found["slices"])
    if imported.refused:
        raise typer.Exit(1)


@app.command()
def export(
    project: Annotated[str, typer.Argument(help="Slug or id.")],
    target: Annotated[Path, typer.Argument(help="The zip to write.")],
    format_: Annotated[ExportFormat, typer.Option("--format", help="What other software it is for.")] = (
        ExportFormat.NIFTI
    ),
    parts: Annotated[str, typer.Option(help="annotations, predictions, merged, interpolated; comma-separated.")] = "",
    snapshot: Annotated[str, typer.Option(help="Id of a snapshot; default: as the project is now.")] = "",
    url: Url = "",
) -> None:
    """Write a project's masks into one zip."""
    asked: dict[str, Any] = {"format": format_, "parts": [part.strip() for part in parts.split(",") if part.strip()]}
    if snapshot:
        asked["snapshot_id"] = snapshot
    with service(url, settings(), (Queue.CPU,)) as client, progress() as tell:
        job = client.post(f"/v1/projects/{project}/exports", asked)
        client.wait_for_job(job["id"], by_share(tell))
        client.download(f"/v1/exports/{job['id']}/file", target)
    out.print(f"{target} is written.")


@app.command()
def strategies() -> None:
    """List the selection strategies with what each needs and costs."""
    table = Table("name", "what it does", "needs", "cost")
    for each in STRATEGIES.values():
        table.add_row(each.name, each.summary, ", ".join(sorted(each.needs)) or "nothing", each.cost)
    out.print(table)


def _tell_of_accounts(knobs: Settings, tell: Callable[[str], object]) -> None:
    from app.db.session import Database
    from app.services.people import count_accounts

    database = Database(knobs.database)
    with database.reading() as session:
        if not count_accounts(session):
            tell("There is no account yet; make the first: nextslice user add NAME --administrator")
    database.dispose()


def _wait_for_signal() -> None:
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    stopped.wait()


if __name__ == "__main__":
    main()
