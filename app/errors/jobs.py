"""Jobs, and what stands around the service: brokers, addresses, other services."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict, NextSliceError, NotFound, Unavailable

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


class GpuOutOfMemory(Unavailable):
    """A training did not fit into the accelerator's memory, with half its batch neither."""

    code = "gpu-oom"

    def __init__(self, tried: Sequence[int], image_size: int) -> None:
        self.tried, self.image_size = tuple(tried), image_size
        batches = " and of ".join(map(str, tried))
        super().__init__(
            f"The GPU ran out of memory with batches of {batches} slices of {image_size} x {image_size} pixels; "
            "nothing was lost. A smaller image_size or batch in the project's protocol, or a larger GPU, would do."
        )


class BrokerUnreachable(Unavailable):
    """The broker took no message; the job stays queued and is found by the sweep."""

    code = "broker-unreachable"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The message broker cannot be reached: {reason}.")


class DatabaseEncodingRefused(Conflict):
    """The database keeps texts without an encoding, so names would come back as bytes."""

    code = "database-encoding-refused"

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        super().__init__(
            f"The database has the encoding {encoding}, but UTF8 is needed: "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0."
        )


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


class ExperimentMissing(NotFound):
    """A folder holds no experiment."""

    code = "experiment-missing"

    def __init__(self, folder: str) -> None:
        self.folder = folder
        super().__init__(f"{folder} holds no experiment: there is no manifest.json in it that can be read.")


class ResumeMismatch(Conflict):
    """An output folder belongs to another run."""

    code = "resume-mismatch"

    def __init__(self, folder: str, what: str) -> None:
        self.folder, self.what = folder, what
        super().__init__(f"{folder} holds a run with another {what}; choose another --out or repeat its command.")
