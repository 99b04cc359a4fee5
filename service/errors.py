"""The family of errors, and the flow of a request that they map.

    connection  BadFraming 400 · UnknownHost 400 · SlowRequest 408 · TooLarge 413 · HeadTooLarge 431 · Overloaded 503
    route       NoSuchModel 404 · Forbidden 403 · NotLoaded 400 · NoModel 503
    access      Unauthorized 401 · Forbidden 403 · RateLimited 429
    receive     TooLarge 413 · Malformed 400 · UnknownMediaType 415 · SlowRequest 408
    decode      NotAPicture 415 · TooLarge 413 · Unusable 422
    admission   Overloaded 503 · DeadlineExceeded 504
    infer       DeadlineExceeded 504
    load        ModelError (the version is refused; at the start the process ends with exit code 3)

An error raised anywhere goes straight to the one handler in `service.app`, which answers `application/problem+json`
(RFC 9457). Each carries a sentence a person can act on, and the limit that was passed where there is one. It knows
nothing of HTTP beyond its status code.
"""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """A refusal of one request, or of one picture in it: a status code, a bounded reason, a sentence, maybe a limit."""

    status = 500
    reason = "internal"

    def __init__(self, detail: str, *, reason: str | None = None, limit: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.limit = limit
        if reason is not None:
            self.reason = reason

    def members(self) -> dict[str, Any]:
        """The error as members of a problem (RFC 9457 section 3); in a batch they stand in the picture's place."""
        problem: dict[str, Any] = {"status": self.status, "detail": self.detail, "reason": self.reason}
        if self.limit is not None:
            problem["limit"] = self.limit
        return problem


class NoSuchModel(ServiceError):
    """The path names a model or a version that is not served."""

    status = 404
    reason = "no_such_model"


class Unauthorized(ServiceError):
    """No API key, or none that is known; `challenge` ends the WWW-Authenticate header (RFC 6750 section 3)."""

    status = 401
    reason = "unauthorized"

    def __init__(self, detail: str, *, challenge: str = "") -> None:
        super().__init__(detail)
        self.challenge = challenge


class Forbidden(ServiceError):
    """Something that clients, or the holder of this key, may not do here."""

    status = 403
    reason = "forbidden"


class NotLoaded(ServiceError):
    """An order to load, and the chosen version was refused."""

    status = 400
    reason = "not_loaded"


class NoModel(ServiceError):
    """No model version is loaded: none has come yet, or it was unloaded."""

    status = 503
    reason = "no_model"


class Malformed(ServiceError):
    """The body is not what its Content-Type or its shape says."""

    status = 400
    reason = "malformed"


class BadFraming(ServiceError):
    """A request that is no HTTP, or that a proxy could read differently: its connection is closed."""

    status = 400
    reason = "bad_framing"


class UnknownHost(ServiceError):
    """A request for a host that is not among those of the settings."""

    status = 400
    reason = "unknown_host"


class HeadTooLarge(ServiceError):
    """Request line and headers over a limit."""

    status = 431
    reason = "head_too_large"


class SlowRequest(ServiceError):
    """Head or body did not arrive within the time to receive."""

    status = 408
    reason = "slow_request"


class TooLarge(ServiceError):
    """Body, pixels, files or batch over a limit; always quotes the limit."""

    status = 413
    reason = "too_large"


class NotAPicture(ServiceError):
    """The bytes are not a picture that we read: another format, or damaged."""

    status = 415
    reason = "not_a_picture"


class UnknownMediaType(ServiceError):
    """The Content-Type is none of those that `/predict` takes."""

    status = 415
    reason = "unknown_media_type"


class Unusable(ServiceError):
    """A readable picture or array that no digit can be read from."""

    status = 422
    reason = "unusable"


class Overloaded(ServiceError):
    """It would be answered too late; `retry_after_s` says when to come back, in whole seconds."""

    status = 503
    reason = "overloaded"

    def __init__(self, detail: str, *, limit: float, retry_after_s: int) -> None:
        super().__init__(detail, limit=limit)
        self.retry_after_s = retry_after_s


class RateLimited(ServiceError):
    """A key's requests come faster than it has them; `retry_after_s` says when to come back, in whole seconds."""

    status = 429
    reason = "rate_limited"

    def __init__(self, detail: str, *, limit: float, retry_after_s: int) -> None:
        super().__init__(detail, limit=limit)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(ServiceError):
    """The time to answer is over, and there is no answer."""

    status = 504
    reason = "deadline_exceeded"


class SettingsError(ValueError):
    """A setting that cannot be used: the message names its key, the value and what is allowed."""


class ModelError(Exception):
    """A model version that must not serve: names the file, what was expected and what was found."""


class NotChecked(ModelError):
    """A model version that could not be checked now, for no fault of its own."""
