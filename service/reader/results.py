"""Prepared pictures and errors as messages.

In: a prepared picture or a `ServiceError`. Out: a message, and on the other side the same object again. A message that
no reader of ours sends is a `ProtocolError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import errors
from ..errors import ServiceError
from ..picture.prepare import PreparedImage
from .wire import Message, ProtocolError

if TYPE_CHECKING:
    from typing import TypeAlias

Item: TypeAlias = "PreparedImage | ServiceError"

IMAGE = 784  # bytes
_ERRORS = {
    kind.__name__: kind
    for kind in (errors.Malformed, errors.NotAPicture, errors.TooLarge, errors.UnknownMediaType, errors.Unusable)
}
_POLARITIES = ("light_on_dark", "dark_on_light")
_WARNINGS = frozenset({"no_ink", "too_faint", "several_shapes", "cut_off"})


def describe_error(error: ServiceError) -> dict[str, Any]:
    """Describe an error for a header."""
    kind = next(name for name, kind in _ERRORS.items() if type(error) is kind)
    return {"kind": kind, "detail": error.detail, "reason": error.reason, "limit": error.limit}


def read_error(described: dict[str, Any]) -> ServiceError:
    """Return the error that a header describes; raises `ProtocolError`."""
    try:
        kind = _ERRORS[described["kind"]]
        return kind(str(described["detail"]), reason=str(described["reason"]), limit=described["limit"])
    except (KeyError, TypeError) as error:
        raise ProtocolError(f"an error without {error}") from None


def describe_item(item: Item) -> Message:
    """Return the message of a picture or its error."""
    if isinstance(item, ServiceError):
        return Message({"error": describe_error(item)})
    picture = {"polarity": item.polarity, "ink_ratio": item.ink_ratio, "box": item.box, "warnings": item.warnings}
    return Message({"picture": picture}, item.rows)


def read_item(message: Message) -> Item:
    """Return the picture or the error in a message; raises `ProtocolError`."""
    if "error" in message.header:
        return read_error(message.header["error"])
    found = message.header.get("picture")
    if not isinstance(found, dict) or len(message.payload) != IMAGE or found.get("polarity") not in _POLARITIES:
        raise ProtocolError("a message that is no picture")
    try:
        ratio, box, warnings = float(found["ink_ratio"]), found["box"], tuple(found["warnings"])
        corners = None if box is None else tuple(int(side) for side in box)
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"a picture with {error}") from None
    if not _WARNINGS.issuperset(warnings) or (corners is not None and len(corners) != 4):
        raise ProtocolError("a picture with an unknown warning or box")
    return PreparedImage(message.payload, found["polarity"], ratio, corners, warnings)
