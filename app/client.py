"""A client of the REST API for the command line and the bench; it can do nothing that another front end could not."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

import httpx

from app.datasets.records import DatasetListing, LabelClass, VolumeSource
from app.datasets.upload import PreparedVolume, Privacy, prepare_upload
from app.errors import AxisUnclear, InvalidInput, RequestRefused, ServiceUnreachable, TooLarge
from app.names import JobState

POLL_S = 0.3
_TIMEOUT_S = 120.0
_PAGE = 500  # items a request, the most that a list gives
_TRIES = 5  # of a request that found no service or a busy one: a restart of the service must not end a long run

Report = Callable[[int, int, str], None]


class Client:
    """Speaks to one service; every answer that is a problem becomes a RequestRefused with its sentence."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=self.url, timeout=_TIMEOUT_S, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a GET."""
        return self._answer("GET", path, params=parameters).json()

    def items(self, path: str, **parameters: Any) -> Iterator[Any]:
        """The items of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **{"limit": _PAGE} | parameters, **({"cursor": cursor} if cursor else {}))
            yield from page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def post(self, path: str, body: Any = None) -> Any:
        """The JSON answer of a POST, which is done once though it may be sent again."""
        return self._answer("POST", path, json=body, headers={"Idempotency-Key": uuid.uuid4().hex}).json()

    def find_project(self, slug: str) -> dict[str, Any] | None:
        """The project with this slug, or None."""
        try:
            found: dict[str, Any] = self.get(f"/v1/projects/{slug}")
        except RequestRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return found

    def upload_volume(
        self,
        project: str,
        volume: VolumeSource,
        classes: tuple[LabelClass, ...],
        privacy: Privacy | None = None,
        axis: int | None = None,
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Send one volume of a data set with its masks; gives back what was made of it, and remarks for people."""
        with ExitStack() as open_files:
            scratch = Path(open_files.enter_context(TemporaryDirectory(prefix="nextslice-")))
            prepared = prepare_upload(volume, classes, scratch, privacy or Privacy(), axis)
            files = {
                field: (file.name, open_files.enter_context(file.path.open("rb")))
                for field, file in (
                    ("image", prepared.image),
                    ("full_mask", prepared.full_mask),
                    ("scribble_mask", prepared.scribble_mask),
                    ("original", prepared.original),
                )
                if file is not None
            }
            path = f"/v1/projects/{project}/volumes"
            answer = self._answer("POST", path, data=_volume_fields(volume, prepared), files=files).json()
            return answer, tuple(dict.fromkeys((*prepared.remarks, *answer.get("remarks", ()))))

    def wait_for_job(self, job_id: str, report: Report) -> dict[str, Any]:
        """The finished job; raises RequestRefused with its error when it did not succeed."""
        while True:
            job: dict[str, Any] = self.get(f"/v1/jobs/{job_id}")
            report(job["progress_done"], job["progress_total"], job["message"] or f"{job['kind']} {job['state']}")
            if JobState(job["state"]).is_final:
                if job["state"] != JobState.SUCCEEDED:
                    error = job["error"] or {}
                    detail = error.get("detail", f"the job was {job['state']}")
                    raise RequestRefused(409, error.get("code", "job-failed"), f"{job['kind']}: {detail}")
                return job
            time.sleep(POLL_S)

    def download(self, path: str, target: Path) -> None:
        """Write the body of a GET into a file, whole or not at all."""
        unfinished = target.with_name(target.name + ".part")
        with self._http.stream("GET", path) as answer:
            if answer.is_error:
                answer.read()
                raise _refusal(answer)
            with unfinished.open("wb") as file:
                for chunk in answer.iter_bytes():
                    file.write(chunk)
        unfinished.replace(target)

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        for left in range(_TRIES - 1, -1, -1):
            try:
                answer = self._http.request(method, path, **options)
            except httpx.TransportError as error:
                if not left:
                    raise ServiceUnreachable(self.url, str(error) or type(error).__name__) from None
            else:
                if answer.status_code != 503 or not left:
                    break
            time.sleep(1.0)
        if answer.is_error:
            raise _refusal(answer)
        return answer


@dataclass
class Imported:
    """What came of an import: (volume, sentence) of what was refused, and of what is worth knowing.

    `unclear` has the refused volumes that an axis would let in, by the same names. `removed` counts what was taken out
    of DICOM files, by attribute; None where there was none to clean.
    """

    refused: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    unclear: dict[str, tuple[VolumeSource, AxisUnclear]] = field(default_factory=dict)
    removed: Counter[str] | None = None

    def settle(self, names: Collection[str], again: Imported) -> None:
        """Put what came of another try with some volumes in the place of what is said of them here."""
        self.refused = [(name, reason) for name, reason in self.refused if name not in names] + again.refused
        self.unclear = {name: each for name, each in self.unclear.items() if name not in names}
        self.remarks += again.remarks
        self.removed = again.removed


def import_listing(
    client: Client,
    project: str,
    listing: DatasetListing,
    report: Report,
    privacy: Privacy | None = None,
    axis: int | None = None,
) -> Imported:
    """Send the volumes that the project does not have yet; one that is refused does not keep the others out."""
    privacy = privacy or Privacy()
    present = {(each["patient"], each["name"]) for each in client.items(f"/v1/projects/{project}/volumes")}
    imported = Imported()
    for done, volume in enumerate(listing.volumes):
        name = f"{volume.patient} {volume.name}"
        report(done, len(listing.volumes), f"importing {name}")
        if (volume.patient, volume.name) in present:
            continue
        try:
            _, remarks = client.upload_volume(project, volume, listing.classes, privacy, axis)
        except (RequestRefused, InvalidInput, TooLarge) as refusal:
            imported.refused.append((name, str(refusal)))
            if isinstance(refusal, AxisUnclear):
                imported.unclear[name] = volume, refusal
        else:
            imported.remarks += [(name, remark) for remark in remarks]
    imported.removed = privacy.removed
    return imported


def label_schema_of(listing: DatasetListing) -> list[dict[str, Any]]:
    """The classes that a data set suggests, as the API takes them."""
    return [{"value": each.value, "name": each.name, "color": each.colour} for each in listing.classes]


@contextmanager
def connect(url: str, token: str = "") -> Iterator[Client]:
    """A client of the service at a URL that has answered once; raises ServiceUnreachable."""
    with Client(url, token) as client:
        client.get("/v1/version")
        yield client


def _volume_fields(volume: VolumeSource, prepared: PreparedVolume) -> dict[str, str]:
    fields = {
        "patient": volume.patient,
        "name": volume.name,
        "group": volume.group,
        "split": volume.split,
        "attributes": json.dumps(dict(volume.attributes)),
        "axis": str(prepared.axis),
    }
    if prepared.unlabelled_value is not None:
        fields["unlabelled_value"] = str(prepared.unlabelled_value)
    if prepared.mask_values is not None:
        fields["mask_values"] = json.dumps({str(value): to for value, to in prepared.mask_values.items()})
    return fields


def _refusal(answer: httpx.Response) -> RequestRefused:
    try:
        problem = answer.json()
    except ValueError:
        return RequestRefused(answer.status_code, "no-problem-details", answer.text[:200])
    return RequestRefused(answer.status_code, str(problem.get("code", "")), str(problem.get("detail", problem)))
