"""Errors as RFC 9457 problem details: one table from the error tree to HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    SQLAlchemyError,
    TimeoutError as PoolExhausted,
)
from starlette.exceptions import HTTPException

from app.errors import (
    AnnotationStale,
    Conflict,
    DraftStale,
    Forbidden,
    Gone,
    InvalidInput,
    MethodRefused,
    NextSliceError,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    ProjectStale,
    RangeNotSatisfiable,
    RequestStillRunning,
    RoundPending,
    TooLarge,
    TooManyRequests,
    TooManySignIns,
    Unauthorized,
    Unavailable,
    UnsupportedMedia,
)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[NextSliceError], int] = {
    InvalidInput: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    NotAllowed: 405,
    Conflict: 409,
    Gone: 410,
    PreconditionFailed: 412,
    TooLarge: 413,
    UnsupportedMedia: 415,
    RangeNotSatisfiable: 416,
    PreconditionRequired: 428,
    TooManyRequests: 429,
    Unavailable: 503,
}


_RACED = frozenset({"40001", "40P01"})  # PostgreSQL: serialization failure, deadlock


class Problem(BaseModel):
    """A refusal (RFC 9457); `code` is the stable word for programs, `detail` the sentence for people."""

    type: str = Field(examples=["about:blank"])
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str = ""
    errors: list[dict[str, Any]] = Field(default_factory=list)


def status_of(error: NextSliceError) -> int:
    """The HTTP status of the branch that an error stands on."""
    return next((status for branch, status in STATUS.items() if isinstance(error, branch)), 500)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer every error of this service as problem details, FastAPI's own included."""

    @app.exception_handler(NextSliceError)
    def _refused(request: Request, error: NextSliceError) -> JSONResponse:
        return problem_answer(request, error)

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [
            {"pointer": "/" + "/".join(str(part) for part in each["loc"]), "code": each["type"], "detail": each["msg"]}
            for each in error.errors()
        ]
        detail = "; ".join(f"{fault['pointer']}: {fault['detail']}" for fault in faults[:3]) + "."
        return _problem(request, 422, "invalid-request", detail, errors=faults)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        title = HTTPStatus(error.status_code).phrase
        return _problem(request, error.status_code, title.lower().replace(" ", "-"), f"{error.detail}.", error.headers)

    @app.exception_handler(OperationalError)
    def _database_away(request: Request, error: OperationalError) -> JSONResponse:
        # Of two transactions that wait for each other the database ends one: nothing of it is kept, and it is not away.
        if getattr(error.orig, "sqlstate", None) in _RACED:
            return _raced_answer(request, error)
        return database_away_answer(request, error)

    @app.exception_handler(PoolExhausted)
    def _no_connection(request: Request, error: PoolExhausted) -> JSONResponse:
        return database_away_answer(request, error)

    @app.exception_handler(DataError)
    def _unstorable(request: Request, error: DataError) -> JSONResponse:
        structlog.get_logger().info("value refused by the database", error=str(error.orig))
        return _problem(request, 422, "value-refused", "A value that was sent cannot be stored; nothing was changed.")

    @app.exception_handler(IntegrityError)
    def _raced(request: Request, error: IntegrityError) -> JSONResponse:
        # What is there already is refused by name; this is only for two requests at the very same moment.
        return _raced_answer(request, error)

    @app.exception_handler(Exception)
    def _unexpected(request: Request, error: Exception) -> JSONResponse:
        structlog.get_logger().exception("unexpected error", path=request.url.path, exc_info=error)
        return _problem(request, 500, "internal-error", "Something went wrong here; the log says what.")


def problem_answer(request: Request, error: NextSliceError) -> JSONResponse:
    """The answer to a refusal, also for what stands outside of the routes."""
    headers = {"Retry-After": "2"} if isinstance(error, (RequestStillRunning, RoundPending, Unavailable)) else {}
    if isinstance(error, (AnnotationStale, DraftStale, ProjectStale)):
        headers["ETag"] = f'"{error.current}"'
    if isinstance(error, TooManySignIns):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, MethodRefused):
        headers["Allow"] = ", ".join(error.allowed)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _problem(request, status_of(error), error.code, str(error), headers=headers)


def _raced_answer(request: Request, error: DBAPIError) -> JSONResponse:
    structlog.get_logger().info("raced", error=str(error.orig))
    detail = "Another request changed the same thing at the same moment; nothing was changed here, try again."
    return _problem(request, 409, "raced", detail)


def database_away_answer(request: Request, error: SQLAlchemyError) -> JSONResponse:
    """The answer while the database is away, or has no connection left for this process."""
    structlog.get_logger().error("database did not answer", error=str(getattr(error, "orig", error)))
    detail = "The database does not answer; nothing was changed."
    return _problem(request, 503, "database-unavailable", detail, headers={"Retry-After": "2"})


def _problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Any = None,
    errors: list[dict[str, Any]] | None = None,
) -> JSONResponse:
    house = getattr(request.app.state, "house", None)
    problem = Problem(
        type="about:blank",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail if house is None else house.settings.hide_folders(detail),
        instance=request.url.path,
        code=code,
        request_id=getattr(request.state, "request_id", ""),
        errors=errors or [],
    )
    return JSONResponse(problem.model_dump(), status, headers=headers, media_type=MEDIA_TYPE)
