"""Every refusal of this house, one class a reason.

NextSliceError
├── InvalidInput            422  what was sent cannot be used
│   ├── ImageRefused             NotAnImage, TruncatedImage, WrongDimensions, NonFiniteVoxel, UnsupportedDtype,
│   │                            PixelsNotExact, UnknownAxis
│   ├── MaskRefused              NotAMask, MaskLengthWrong, NotAPng, ShapeMismatch, AffineMismatch,
│   │                            UnknownMaskValues, MaskNotIntegral, EmptyMask
│   ├── DatasetRefused           UnknownDataset, DatasetUnreadable, VolumesRefused
│   ├── ProtocolRefused, LabelSchemaRefused, BudgetRefused, ProjectSettingRefused, UnknownStrategy
│   ├── SupervisionMismatch, MaskIncomplete, EmptyBody
│   └── BadBlobKey, BlobRangeOutside
├── NotFound                404  BlobNotFound, PlaneOutside, ProjectNotFound, RecordNotFound, NoAnnotationYet
├── Conflict                409  ProjectExists, PatientSplitConflict, VolumeExists, GroundTruthExists,
│                                GroundTruthMissing, RoundOpen, NothingLeft, RoundStateConflict, RoundPending,
│                                NoModelYet, JobLostError, JobCancelled, JobFinishedError, JobNotRetryable,
│                                AddressTaken, ResumeMismatch
├── Gone                    410  LeaseGone, SliceLeasedElsewhere
├── PreconditionFailed      412  AnnotationStale
├── TooLarge                413  ImageTooLarge, MaskTooLarge, BodyTooLarge
├── UnsupportedMedia        415  MaskTypeRefused
├── PreconditionRequired    428  AnnotationPreconditionMissing
├── Unavailable             503  MissingExtra, BlobDamaged, BrokerUnreachable, ServiceUnreachable
└── RequestRefused               what a service answered to this house as its client

A class takes facts, keeps them as fields and builds its own sentence; the HTTP status of a branch stands in
`api/problems.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class NextSliceError(Exception):
    """Anything that this house refuses on purpose; `code` is the stable word for programs, str() the sentence."""

    code: ClassVar[str] = "refused"


class InvalidInput(NextSliceError):
    """What was sent cannot be used (422)."""

    code = "invalid-input"


class NotFound(NextSliceError):
    """What was asked for is not there (404)."""

    code = "not-found"


class Conflict(NextSliceError):
    """What was asked for contradicts what is there (409)."""

    code = "conflict"


class Gone(NextSliceError):
    """What was held is held no longer (410)."""

    code = "gone"


class PreconditionFailed(NextSliceError):
    """The caller looked at an older state (412)."""

    code = "precondition-failed"


class PreconditionRequired(NextSliceError):
    """The caller must say which state it looked at (428)."""

    code = "precondition-required"


class TooLarge(NextSliceError):
    """What was sent is larger than this house takes (413)."""

    code = "too-large"


class UnsupportedMedia(NextSliceError):
    """What was sent is of a media type that is not taken here (415)."""

    code = "unsupported-media"


class Unavailable(NextSliceError):
    """Something this house leans on does not answer, or answers wrongly (503)."""

    code = "unavailable"


# --- images -----------------------------------------------------------------------------------------------------------


class ImageRefused(InvalidInput):
    """An image that cannot be taken in."""

    code = "image-refused"


class NotAnImage(ImageRefused):
    """The bytes are not an image of the format they claim."""

    code = "not-an-image"

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} cannot be read as an image: {reason}.")


class TruncatedImage(ImageRefused):
    """The header promises more voxels than the file holds."""

    code = "truncated-image"

    def __init__(self, name: str, expected_bytes: int, found_bytes: int) -> None:
        self.name, self.expected_bytes, self.found_bytes = name, expected_bytes, found_bytes
        super().__init__(f"{name} is cut short: {expected_bytes} bytes of voxels expected, {found_bytes} found.")


class WrongDimensions(ImageRefused):
    """The image is not one 3-D volume."""

    code = "wrong-dimensions"

    def __init__(self, name: str, shape: Sequence[int], reason: str) -> None:
        self.name, self.shape, self.reason = name, tuple(shape), reason
        super().__init__(f"{name} has shape {_shape(shape)}: {reason}.")


class NonFiniteVoxel(ImageRefused):
    """A voxel is NaN or infinite; the index is the first such one, in the file's own axes."""

    code = "non-finite-voxel"

    def __init__(self, name: str, index: Sequence[int], value: float) -> None:
        self.name, self.index, self.value = name, tuple(index), value
        super().__init__(f"{name} holds {value} at voxel {tuple(index)}; every voxel must be a finite number.")


class UnsupportedDtype(ImageRefused):
    """Voxels of a type that has no place in a pack."""

    code = "unsupported-dtype"

    def __init__(self, name: str, dtype: str) -> None:
        self.name, self.dtype = name, dtype
        super().__init__(f"{name} has voxels of type {dtype}, which is not supported.")


class PixelsNotExact(ImageRefused):
    """A value cannot be kept: an integer beyond float32's exact range, or a float beyond its largest number."""

    code = "pixels-not-exact"

    def __init__(self, name: str, dtype: str, index: Sequence[int], value: float) -> None:
        self.name, self.dtype, self.index, self.value = name, dtype, tuple(index), value
        super().__init__(f"{name} ({dtype}) holds {value} at voxel {tuple(index)}, which float32 cannot keep.")


class UnknownAxis(ImageRefused):
    """A slicing axis that the image does not have."""

    code = "unknown-axis"

    def __init__(self, axis: int) -> None:
        self.axis = axis
        super().__init__(f"Slices can be cut along axis 0, 1 or 2, not along axis {axis}.")


class ImageTooLarge(TooLarge):
    """The header announces more than the limit, so no voxel was read."""

    code = "image-too-large"

    def __init__(self, name: str, announced_bytes: int, limit_bytes: int) -> None:
        self.name, self.announced_bytes, self.limit_bytes = name, announced_bytes, limit_bytes
        super().__init__(f"{name} announces {announced_bytes} bytes of voxels; the limit is {limit_bytes}.")


# --- masks ------------------------------------------------------------------------------------------------------------


class MaskRefused(InvalidInput):
    """A mask that cannot be taken in."""

    code = "mask-refused"


class NotAMask(MaskRefused):
    """The body is not a gzip stream of one byte a pixel."""

    code = "not-a-mask"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The mask cannot be read: {reason}.")


class MaskLengthWrong(MaskRefused):
    """The gzip stream does not unpack to exactly one byte a pixel."""

    code = "mask-length-wrong"

    def __init__(self, expected_bytes: int, found_bytes: int) -> None:
        self.expected_bytes, self.found_bytes = expected_bytes, found_bytes
        found = f"more than {expected_bytes}" if found_bytes > expected_bytes else str(found_bytes)
        super().__init__(f"The mask must unpack to exactly {expected_bytes} bytes; it unpacks to {found}.")


class MaskTooLarge(TooLarge):
    """The body is longer than any mask of this slice can be."""

    code = "mask-too-large"

    def __init__(self, received_bytes: int, limit_bytes: int) -> None:
        self.received_bytes, self.limit_bytes = received_bytes, limit_bytes
        super().__init__(f"The mask body has {received_bytes} bytes; one of this shape has at most {limit_bytes}.")


class NotAPng(MaskRefused):
    """The body is not an 8-bit greyscale or indexed PNG."""

    code = "not-a-png"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The mask cannot be read as a PNG: {reason}.")


class ShapeMismatch(MaskRefused):
    """A mask does not have the shape of what it belongs to."""

    code = "shape-mismatch"

    def __init__(self, expected: Sequence[int], found: Sequence[int]) -> None:
        self.expected, self.found = tuple(expected), tuple(found)
        super().__init__(f"The mask has shape {_shape(found)}; its image has {_shape(expected)}.")


class AffineMismatch(MaskRefused):
    """A mask lies elsewhere in space than its image."""

    code = "affine-mismatch"

    def __init__(self, distance_mm: float, tolerance_mm: float) -> None:
        self.distance_mm, self.tolerance_mm = distance_mm, tolerance_mm
        super().__init__(
            f"The mask lies up to {distance_mm:.3g} mm away from its image; at most {tolerance_mm:.3g} mm is taken."
        )


class UnknownMaskValues(MaskRefused):
    """A mask holds values that no class has."""

    code = "unknown-mask-values"

    def __init__(self, values: Iterable[int], allowed: Iterable[int]) -> None:
        self.values, self.allowed = tuple(sorted(values)), tuple(sorted(allowed))
        super().__init__(
            f"The mask holds the values {_listed(self.values)}; "
            f"allowed are {_listed(self.allowed)} and 255 (unlabelled)."
        )


class MaskNotIntegral(MaskRefused):
    """A mask holds a value that is no whole number from 0 to 255."""

    code = "mask-not-integral"

    def __init__(self, index: Sequence[int], value: float) -> None:
        self.index, self.value = tuple(index), value
        super().__init__(f"The mask holds {value} at {tuple(index)}; every value must be a whole number from 0 to 255.")


class EmptyMask(MaskRefused):
    """A mask in which nothing at all is labelled."""

    code = "empty-mask"

    def __init__(self) -> None:
        super().__init__("The mask labels no pixel at all.")


class MissingExtra(Unavailable):
    """A format needs packages that are not installed here."""

    code = "missing-extra"

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"Reading {what} needs packages that are not installed; install nextslice[{extra}].")


# --- data sets --------------------------------------------------------------------------------------------------------


class DatasetRefused(InvalidInput):
    """A data set that cannot be listed."""

    code = "dataset-refused"


class UnknownDataset(DatasetRefused):
    """No importer has this name."""

    code = "unknown-dataset"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"There is no importer called {name!r}; known are {', '.join(self.known)}.")


class DatasetUnreadable(DatasetRefused):
    """The folder is not laid out as the importer expects."""

    code = "dataset-unreadable"

    def __init__(self, name: str, path: str, reason: str) -> None:
        self.name, self.path, self.reason = name, path, reason
        super().__init__(f"{path} is not a {name} data set: {reason}.")


class VolumesRefused(DatasetRefused):
    """An experiment on other data than the plan's would be comparable with nothing."""

    code = "volumes-refused"

    def __init__(self, dataset: str, count: int, first: str, reason: str) -> None:
        self.dataset, self.count, self.first, self.reason = dataset, count, first, reason
        super().__init__(f"{count} volumes of {dataset} were refused; the first is {first}: {reason}")


# --- blobs ------------------------------------------------------------------------------------------------------------


class BadBlobKey(InvalidInput):
    """A key outside the store's grammar."""

    code = "bad-blob-key"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key[:100]!r} is not a blob key.")


class BlobRangeOutside(InvalidInput):
    """A range that leaves its blob."""

    code = "blob-range-outside"

    def __init__(self, key: str, start: int, length: int) -> None:
        self.key, self.start, self.length = key, start, length
        super().__init__(f"Bytes {start} to {start + length} are not all within {key}.")


class PlaneOutside(NotFound):
    """A slice number that the volume does not have."""

    code = "plane-outside"

    def __init__(self, z: int, depth: int) -> None:
        self.z, self.depth = z, depth
        super().__init__(f"There is no slice {z}; the volume has slices 0 to {depth - 1}.")


class BlobNotFound(NotFound):
    """No blob has this key."""

    code = "blob-not-found"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"There is no blob {key}.")


class BlobDamaged(Unavailable):
    """A stored blob no longer has the content that it was stored with."""

    code = "blob-damaged"

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"The blob {key} is damaged: {reason}.")


# --- projects and protocols -------------------------------------------------------------------------------------------


class ProtocolRefused(InvalidInput):
    """A training protocol with a field or value that does not exist."""

    code = "protocol-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The training protocol cannot be used: {reason}.")


class LabelSchemaRefused(InvalidInput):
    """A label schema that no mask could follow."""

    code = "label-schema-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The label schema {reason}.")


class BudgetRefused(InvalidInput):
    """A budget outside (0, 100] percent, or out of order."""

    code = "budget-refused"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The budget cannot be used: {reason}.")


class ProjectSettingRefused(InvalidInput):
    """A setting of a project that is not of its form."""

    code = "project-setting-refused"

    def __init__(self, setting: str, rule: str, value: object) -> None:
        self.setting, self.rule, self.value = setting, rule, value
        super().__init__(f"The project's {setting} must be {rule}, not {str(value)[:100]!r}.")


class UnknownStrategy(InvalidInput):
    """No selection strategy has this name."""

    code = "unknown-strategy"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(f"There is no strategy {name[:100]!r}; known are {', '.join(known)}.")


class ProjectNotFound(NotFound):
    """No project has this id or slug."""

    code = "project-not-found"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(f"There is no project {reference[:100]!r}.")


class RecordNotFound(NotFound):
    """No row of this kind has this id."""

    code = "record-not-found"

    def __init__(self, kind: str, reference: object) -> None:
        self.kind, self.reference = kind, str(reference)
        super().__init__(f"There is no {kind} {str(reference)[:100]!r}.")


class ProjectExists(Conflict):
    """The slug is taken."""

    code = "project-exists"

    def __init__(self, slug: str) -> None:
        self.slug = slug
        super().__init__(f"There is a project {slug!r} already.")


# --- volumes ----------------------------------------------------------------------------------------------------------


class PatientSplitConflict(Conflict):
    """A patient belongs to one split only, or it would be both learned from and judged on."""

    code = "patient-split-conflict"

    def __init__(self, patient: str, present: str, asked: str) -> None:
        self.patient, self.present, self.asked = patient, present, asked
        super().__init__(f"Patient {patient!r} is in the {present} split already and cannot be in {asked} too.")


class VolumeExists(Conflict):
    """The patient has another volume of this name."""

    code = "volume-exists"

    def __init__(self, patient: str, name: str) -> None:
        self.patient, self.name = patient, name
        super().__init__(f"Patient {patient!r} has another volume {name!r} already.")


class GroundTruthExists(Conflict):
    """Another ground truth of this kind is stored for the volume."""

    code = "ground-truth-exists"

    def __init__(self, volume: str, kind: str) -> None:
        self.volume, self.kind = volume, kind
        super().__init__(f"Volume {volume!r} has another {kind} ground truth already.")


class GroundTruthMissing(Conflict):
    """The oracle or an evaluation wants ground truth that was never given."""

    code = "ground-truth-missing"

    def __init__(self, volume: str, kind: str) -> None:
        self.volume, self.kind = volume, kind
        super().__init__(f"Volume {volume!r} has no {kind} ground truth.")


# --- rounds, leases and annotations -----------------------------------------------------------------------------------


class RoundOpen(Conflict):
    """A project has one open round at a time."""

    code = "round-open"

    def __init__(self, number: int, state: str) -> None:
        self.number, self.state = number, state
        super().__init__(f"Round {number} is still open ({state}).")


class NothingLeft(Conflict):
    """There is no slice left that a round could propose."""

    code = "nothing-left"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"There is nothing left to propose: {reason}.")


class RoundStateConflict(Conflict):
    """What was asked for does not fit the state of the round."""

    code = "round-state-conflict"

    def __init__(self, number: int, state: str, wanted: str) -> None:
        self.number, self.state, self.wanted = number, state, wanted
        super().__init__(f"Round {number} is {state}; {wanted}.")


class RoundPending(Conflict):
    """Nothing can be leased now, but a job is running that will propose more."""

    code = "round-pending"

    def __init__(self, number: int, state: str) -> None:
        self.number, self.state = number, state
        super().__init__(f"No slice can be leased now: round {number} is {state}. Ask again in a moment.")


class LeaseGone(Gone):
    """The lease has ended."""

    code = "lease-gone"

    def __init__(self, lease: object, state: str) -> None:
        self.lease, self.state = str(lease), state
        super().__init__(f"The lease {self.lease} is {state}.")


class SliceLeasedElsewhere(Gone):
    """Somebody else holds the slice now."""

    code = "slice-leased-elsewhere"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} is leased to somebody else now; nothing was stored.")


class AnnotationStale(PreconditionFailed):
    """The slice was annotated meanwhile."""

    code = "annotation-stale"

    def __init__(self, current: str) -> None:
        self.current = current
        super().__init__(f"The annotation has changed meanwhile; its current version is {current}.")


class AnnotationPreconditionMissing(PreconditionRequired):
    """A submission must name the version that it replaces."""

    code = "annotation-precondition-missing"

    def __init__(self) -> None:
        super().__init__('Send If-Match with the ETag of the current annotation, or "0" when there is none.')


class SupervisionMismatch(InvalidInput):
    """The kind of annotation is not what the project trains on."""

    code = "supervision-mismatch"

    def __init__(self, kind: str, supervision: str) -> None:
        self.kind, self.supervision = kind, supervision
        super().__init__(f"The project takes {supervision} annotations, not {kind} ones.")


class MaskIncomplete(MaskRefused):
    """A full mask leaves pixels unlabelled."""

    code = "mask-incomplete"

    def __init__(self, unlabelled: int) -> None:
        self.unlabelled = unlabelled
        super().__init__(f"A full mask labels every pixel; {unlabelled} are unlabelled (255).")


class MaskTypeRefused(UnsupportedMedia):
    """A body of a type in which no mask is taken."""

    code = "mask-type-refused"

    def __init__(self, content_type: str, known: Sequence[str]) -> None:
        self.content_type, self.known = content_type, tuple(known)
        super().__init__(f"A mask cannot be sent as {content_type[:100]!r}; known are {', '.join(known)}.")


class EmptyBody(InvalidInput):
    """Nothing was sent."""

    code = "empty-body"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"The request has no body; {what} was expected.")


class BodyTooLarge(TooLarge):
    """The body passes the limit of this service."""

    code = "body-too-large"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"The body is larger than the {limit_bytes} bytes that are taken here.")


class NoModelYet(Conflict):
    """There is no trained model to predict or judge with."""

    code = "no-model-yet"

    def __init__(self, project: str) -> None:
        self.project = project
        super().__init__(f"Project {project!r} has no trained model yet.")


class NoAnnotationYet(NotFound):
    """The slice has no annotation."""

    code = "no-annotation-yet"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} has no annotation yet.")


# --- jobs -------------------------------------------------------------------------------------------------------------


class JobLostError(Conflict):
    """Somebody else has the job now, so whoever held it may write nothing."""

    code = "job-lost"

    def __init__(self, job_id: object) -> None:
        self.job_id = str(job_id)
        super().__init__(f"Job {self.job_id} is no longer held by this worker; nothing was stored.")


class JobCancelled(Conflict):
    """Somebody asked for the running job to be cancelled."""

    code = "job-cancelled"

    def __init__(self, job_id: object) -> None:
        self.job_id = str(job_id)
        super().__init__(f"Job {self.job_id} was cancelled.")


class JobFinishedError(Conflict):
    """A job in a final state cannot be cancelled."""

    code = "job-finished"

    def __init__(self, job_id: object, state: str) -> None:
        self.job_id, self.state = str(job_id), state
        super().__init__(f"Job {self.job_id} has {state} and cannot be cancelled.")


class JobNotRetryable(Conflict):
    """Only a job that failed or was cancelled can be queued again."""

    code = "job-not-retryable"

    def __init__(self, job_id: object, state: str) -> None:
        self.job_id, self.state = str(job_id), state
        super().__init__(f"Job {self.job_id} is {state}; only a failed or cancelled job can be queued again.")


class BrokerUnreachable(Unavailable):
    """The broker took no message; the job stays queued and is found by the sweep."""

    code = "broker-unreachable"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The message broker cannot be reached: {reason}.")


# --- the command line -------------------------------------------------------------------------------------------------


class AddressTaken(Conflict):
    """The service cannot listen where it was told to."""

    code = "address-taken"

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(f"The service cannot listen on {host}:{port}: {reason}.")


class ServiceUnreachable(Unavailable):
    """No service answers at the address."""

    code = "service-unreachable"

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"No service answers at {url} ({reason}).")


class RequestRefused(NextSliceError):
    """The service answered with a problem."""

    code = "request-refused"

    def __init__(self, status: int, problem: str, detail: str) -> None:
        self.status, self.problem, self.detail = status, problem, detail
        super().__init__(detail)


class ResumeMismatch(Conflict):
    """An output folder belongs to another run."""

    code = "resume-mismatch"

    def __init__(self, folder: str, what: str) -> None:
        self.folder, self.what = folder, what
        super().__init__(f"{folder} holds a run with another {what}; choose another --out or repeat its command.")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(length) for length in shape)


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:12])
    return shown if len(values) <= 12 else f"{shown} and {len(values) - 12} more"
