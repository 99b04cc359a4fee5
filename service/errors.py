"""The family of errors, in the order in which a request can meet them.

    connection  BadFraming 400 · UnknownHost 400 · SlowRequest 408 · TooLarge 413 · HeadTooLarge 431 · Overloaded 503
    route       NoSuchModel 404 · Forbidden 403 · NotLoaded 400 · NoModel 503
    access      Unauthorized 401 · Forbidden 403 · RateLimited 429
    receive     TooLarge 413 · Malformed 400 · UnknownMediaType 415 · SlowRequest 408
    decode      NotAPicture 415 · TooLarge 413 · Unusable 422
    admission   Overloaded 503 · DeadlineExceeded 504
    infer       DeadlineExceeded 504 · NotCalibrated 409
    start       SettingsError exit code 2 · ModelError exit code 3 (later, the version is refused)

An error raised anywhere goes to one handler (`service.connection.problems`), which responds `application/problem+json`
(RFC 9457). Each error has a readable detail, and the limit that was exceeded where there is one. It knows nothing of
HTTP beyond its status code.
"""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """The refusal of a request, or of one picture in it: status code, reason (a label), detail, and perhaps a limit."""

    status = 500
    reason = "internal"

    def __init__(self, detail: str, *, reason: str | None = None, limit: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.limit = limit
        if reason is not None:
            self.reason = reason

    def members(self) -> dict[str, Any]:
        """Return the members of a problem (RFC 9457 section 3); in a batch they replace the picture's prediction."""
        problem: dict[str, Any] = {"status": self.status, "detail": self.detail, "reason": self.reason}
        if self.limit is not None:
            problem["limit"] = self.limit
        return problem


class NoSuchModel(ServiceError):
    """The path names a model or a version that is not served."""

    status = 404
    reason = "no_such_model"


class Unauthorized(ServiceError):
    """The API key is missing, unknown or expired; `challenge` ends the WWW-Authenticate header (RFC 6750 section 3)."""

    status = 401
    reason = "unauthorized"

    def __init__(self, detail: str, *, challenge: str = "") -> None:
        super().__init__(detail)
        self.challenge = challenge


class Forbidden(ServiceError):
    """Clients, or the holder of this key, may not do this."""

    status = 403
    reason = "forbidden"


class NotLoaded(ServiceError):
    """A client's command to load failed: the chosen version was refused."""

    status = 400
    reason = "not_loaded"


class NoModel(ServiceError):
    """No model version is loaded: there was none yet, or it was unloaded."""

    status = 503
    reason = "no_model"


class NotCalibrated(ServiceError):
    """The version that answers makes no sets of digits: its card has no quantiles."""

    status = 409
    reason = "not_calibrated"


class Malformed(ServiceError):
    """The body does not match its Content-Type, or its parts do not match each other."""

    status = 400
    reason = "malformed"


class BadFraming(ServiceError):
    """Invalid or ambiguous HTTP, which a proxy could read differently: the connection is closed."""

    status = 400
    reason = "bad_framing"


class UnknownHost(ServiceError):
    """The request's host is not among those of the settings."""

    status = 400
    reason = "unknown_host"


class HeadTooLarge(ServiceError):
    """The request line and headers exceed a limit."""

    status = 431
    reason = "head_too_large"


class SlowRequest(ServiceError):
    """The head or body did not arrive in time."""

    status = 408
    reason = "slow_request"


class TooLarge(ServiceError):
    """A body, picture, file count or batch exceeds a limit, which is quoted."""

    status = 413
    reason = "too_large"


class NotAPicture(ServiceError):
    """The bytes are not a supported picture: another format, or damaged."""

    status = 415
    reason = "not_a_picture"


class UnknownMediaType(ServiceError):
    """The Content-Type is not supported by `/predict`."""

    status = 415
    reason = "unknown_media_type"


class Unusable(ServiceError):
    """The picture or array is readable, but no digit can be read from it."""

    status = 422
    reason = "unusable"


class Overloaded(ServiceError):
    """The response would be too late; `retry_after_s` says when to retry, in whole seconds."""

    status = 503
    reason = "overloaded"

    def __init__(self, detail: str, *, limit: float, retry_after_s: int) -> None:
        super().__init__(detail, limit=limit)
        self.retry_after_s = retry_after_s


class RateLimited(ServiceError):
    """A key exceeds its rate; `retry_after_s` says when to retry, in whole seconds."""

    status = 429
    reason = "rate_limited"

    def __init__(self, detail: str, *, limit: float, retry_after_s: int) -> None:
        super().__init__(detail, limit=limit)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The deadline has passed without a response."""

    status = 504
    reason = "deadline_exceeded"


class SettingsError(ValueError):
    """A bad setting; the message names its key, the value and what is allowed."""


class ModelError(Exception):
    """A model version must not serve; the message names the file, what was expected and what was found."""


class NotChecked(ModelError):
    """A model version could not be checked now, for reasons outside of it."""
