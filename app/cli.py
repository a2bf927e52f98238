"""The command line: `nextslice up | migrate | import | export | gc | verify | rebuild | bench run | ...`."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import cli_backup, cli_storage
from app.cli_import import ask_axes, tell_import
from app.cli_people import token_commands, user_commands
from app.client import Client, Imported, Report, connect, import_listing, label_schema_of
from app.datasets.records import DatasetListing
from app.errors import NextSliceError
from app.log import configure_logging
from app.names import STRATEGIES, ExportFormat, Queue, Scribbles, Supervision
from app.settings import Settings, settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
bench = typer.Typer(no_args_is_help=True, help="Whole published experiments, the oracle annotating.")
app.add_typer(bench, name="bench")
app.add_typer(user_commands, name="user")
app.add_typer(token_commands, name="token")
app.command()(cli_storage.gc)
app.command()(cli_storage.verify)
app.command()(cli_storage.purge)
app.command()(cli_storage.rebuild)
app.command()(cli_backup.backup)
app.command()(cli_backup.restore)

out = Console(highlight=False, soft_wrap=True)
_QUIET_S = 30.0  # without a terminal a line of progress comes this often

Url = Annotated[str, typer.Option(help="A running service, its token in NEXTSLICE_TOKEN; else one is started.")]


def main() -> None:
    """Run a command; what is refused ends as one sentence on standard error and a status that is not 0."""
    try:
        app(standalone_mode=True)
    except NextSliceError as error:
        typer.echo(f"nextslice: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("nextslice: stopped; the same command goes on from here", err=True)
        sys.exit(130)


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
        _log_file(knobs) if with_workers else nullcontext(),
        running_service(knobs, tuple(Queue) if with_workers else ()) as url,
    ):
        out.print(f"NextSlice is ready: {url}   (API: {url}/docs, data: {knobs.home.resolve()})")
        if knobs.has_accounts:
            _tell_of_accounts(knobs)
        elif demo and with_workers:
            make_demo_project(url, knobs)
            out.print("The demo project is there; its first slices are being proposed. Ctrl+C stops.")
        _wait_for_signal()


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema."""
    from app.db.migrate import migrate as run_migrations
    from app.db.session import Database

    knobs = settings()
    out.print(f"The database is at revision {run_migrations(Database(knobs.database))}.")


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
    with input_folder(path) as (folder, unpacked), _service(url, settings(), ()) as client:
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
                    "budgets": _numbers(budgets),
                    "preset": preset,
                    "seed": seed,
                    "strategy_settings": _json_object(strategy_settings),
                },
            )

        def send(part: DatasetListing, axis: int | None) -> Imported:
            with _progress() as tell:
                return import_listing(client, project, part, _share(tell), privacy, axis)

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
    with _service(url, settings(), (Queue.CPU,)) as client, _progress() as tell:
        job = client.post(f"/v1/projects/{project}/exports", asked)
        client.wait_for_job(job["id"], _share(tell))
        client.download(f"/v1/exports/{job['id']}/file", target)
    out.print(f"{target} is written.")


@app.command()
def strategies() -> None:
    """List the selection strategies with what each needs and costs."""
    table = Table("name", "what it does", "needs", "cost")
    for each in STRATEGIES.values():
        table.add_row(each.name, each.summary, ", ".join(sorted(each.needs)) or "nothing", each.cost)
    out.print(table)


@bench.command("run")
def bench_run(
    dataset: Annotated[str, typer.Argument(help="acdc, nifti or phantom.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    target: Annotated[Path, typer.Option("--out", help="Folder for results.csv, curve.png and manifest.json.")],
    supervision: Annotated[Supervision, typer.Option()] = Supervision.SCRIBBLE,
    strategies: Annotated[str, typer.Option(help="Comma-separated.")] = "gcl,random",
    budgets: Annotated[str, typer.Option(help="Cumulative percent, comma-separated.")] = "2,3,4,5",
    seeds: Annotated[str, typer.Option(help="The seeds themselves, comma-separated.")] = "1",
    preset: Annotated[str, typer.Option(help="Training protocol: paper, cpu or tiny.")] = "paper",
    protocol: Annotated[str, typer.Option(help='JSON: fields of the preset to replace, e.g. {"members": 3}.')] = "{}",
    recipe: Annotated[str, typer.Option(help="Of segmentation training: paper or modern; default: the preset's.")] = "",
    ablation: Annotated[str, typer.Option(help="In place of strategies: table4 or controls.")] = "",
    scribbles: Annotated[Scribbles, typer.Option(help="simulate: drawn from the masks where there are none.")] = (
        Scribbles.GIVEN
    ),
    strategy_settings: Annotated[str, typer.Option(help='JSON: e.g. {"bald": {"passes": 10}}.')] = "{}",
    url: Url = "",
) -> None:
    """Run an experiment; stopped, the same command goes on where it was."""
    from app.bench.plan import BenchPlan, encoder_warnings
    from app.bench.report import CURVE, summarise_results
    from app.bench.runner import run_bench
    from app.datasets.registry import list_dataset
    from app.datasets.scribbles import with_simulated_scribbles

    plan = BenchPlan(
        dataset=dataset,
        supervision=supervision,
        strategies=tuple(part.strip() for part in strategies.split(",")),
        budgets=tuple(_numbers(budgets)),
        seeds=tuple(int(seed) for seed in _numbers(seeds)),
        preset=preset,
        overrides=_with_recipe(_json_object(protocol), recipe),
        ablation=ablation,
        settings=_json_object(strategy_settings),
        scribbles=scribbles,
    )
    listing = list_dataset(dataset, root)
    if scribbles == Scribbles.SIMULATE:
        listing = with_simulated_scribbles(listing, 0)
    knobs = Settings(home=target / "service", port=0)
    with _service(url, knobs, tuple(Queue)) as client, _progress() as tell:
        results = run_bench(client, listing, plan, target, tell)
    table = Table("strategy", *(f"{budget:g} %" for budget in plan.budgets), title="mean Dice, test patients")
    for strategy, by_budget in summarise_results(results).items():
        table.add_row(strategy, *(f"{by_budget[budget]:.3f}" for budget in plan.budgets))
    out.print(table)
    for warning in sorted(encoder_warnings(target)):
        out.print(f"warning: {warning}")
    out.print(f"{results}, {target / CURVE} and {target / 'manifest.json'} are written.")


@bench.command("report")
def bench_report(target: Annotated[Path, typer.Argument(help="Folder of an experiment.")]) -> None:
    """Draw curve.png anew from results.csv, and tell how sure the means are."""
    from app.bench.report import CURVE, describe_certainty, draw_curve

    draw_curve(target)
    table = Table("strategy", "%", "mean Dice", "SD over seeds", "± (2 SE over test patients)")
    for strategy, by_budget in describe_certainty(target).items():
        for budget, (mean, spread, error) in by_budget.items():
            table.add_row(
                strategy, f"{budget:g}", f"{mean:.3f}", "" if spread is None else f"{spread:.3f}", f"{error:.3f}"
            )
    if table.row_count:
        out.print(table)
    out.print(f"{target / CURVE} is written.")


@contextmanager
def _service(url: str, knobs: Settings, queues: tuple[Queue, ...]) -> Iterator[Client]:
    """A client of the service at `url`, or of one that lives as long as the command."""
    if url:
        with connect(url, os.environ.get("NEXTSLICE_TOKEN", "")) as client:
            yield client
        return
    from app.embedded import running_service

    with (
        _log_file(knobs),
        running_service(knobs.model_copy(update={"port": 0}), queues) as own,
        connect(own) as client,
    ):
        yield client


@contextmanager
def _log_file(knobs: Settings) -> Iterator[None]:
    """The service's log goes into a file: what a person reads on the terminal is only what concerns them."""
    folder = knobs.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "api.log").open("a", encoding="utf-8") as file:
        configure_logging(stream=file)
        yield


@contextmanager
def _progress() -> Iterator[Any]:
    """`tell(share, text)`: a bar with the time left on a terminal, else a line now and then."""
    started, last = time.monotonic(), 0.0

    def left(share: float) -> str:
        if share <= 0.02:
            return ""
        seconds = (time.monotonic() - started) * (1 - share) / share
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"

    if not out.is_terminal:

        def tell(share: float, text: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _QUIET_S or share >= 1:
                last = time.monotonic()
                out.print(f"{share:4.0%} {left(share)} {text}".rstrip(), soft_wrap=True)

        yield tell
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}  {task.description}"),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("", total=1.0, left="")
        yield lambda share, text: bar.update(task, completed=share, description=text, left=left(share))


def _share(tell: Callable[[float, str], None]) -> Report:
    return lambda done, total, message: tell(done / max(total, 1), message)


def _tell_of_accounts(knobs: Settings) -> None:
    from app.db.session import Database
    from app.services.people import count_accounts

    database = Database(knobs.database)
    with database.reading() as session:
        if not count_accounts(session):
            out.print("There is no account yet; make the first: nextslice user add NAME --administrator")
    database.dispose()


def _wait_for_signal() -> None:
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    stopped.wait()


def _with_recipe(overrides: dict[str, Any], recipe: str) -> dict[str, Any]:
    if not recipe:
        return overrides
    return overrides | {"segmentation": {**overrides.get("segmentation", {}), "recipe": recipe}}


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a comma-separated list of numbers") from None


def _json_object(text: str) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} is not a JSON object")
    return value


if __name__ == "__main__":
    main()
