"""The same pictures in every form in which they are sent, and the digits of an answer.

In: images uint8[N,28,28]. Out: bodies with their headers, for servers that take what a client has, for those that want
a form, and for those that speak the Open Inference Protocol (V2). It knows no server.
"""

from __future__ import annotations

import base64
import io
import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]

BOUNDARY = "a-boundary-that-no-picture-holds"
PART = 'Content-Disposition: form-data; name="file"; filename="digit"\r\nContent-Type: application/octet-stream'


class Body(NamedTuple):
    """What is posted, and the headers that say what it is."""

    headers: dict[str, str]
    content: bytes


def picture(images: Pixels) -> Body:
    """One PNG as it is."""
    return Body({"Content-Type": "image/png"}, _png(images[0]))


def picture_in_form(images: Pixels) -> Body:
    """One PNG as the file of a form."""
    return _form(_png(images[0]))


def octets(images: Pixels) -> Body:
    """784 bytes as they are."""
    return Body({"Content-Type": "application/octet-stream"}, images[0].tobytes())


def many_octets(images: Pixels) -> Body:
    """784 bytes of each as they are."""
    return Body({"Content-Type": "application/octet-stream"}, images.tobytes())


def octets_in_form(images: Pixels) -> Body:
    """784 bytes as the file of a form."""
    return _form(images[0].tobytes())


def numbers(images: Pixels) -> Body:
    """784 numbers in JSON."""
    return _json({"image": images[0].ravel().tolist()})


def rows_of_numbers(images: Pixels) -> Body:
    """784 numbers in JSON, as the one row of a batch."""
    return _json({"images": [images[0].ravel().tolist()]})


def pictures(images: Pixels) -> Body:
    """All PNGs, in base64 in JSON."""
    return _json({"images": _base64(images)})


def v2_picture(images: Pixels) -> Body:
    """One PNG as an element of datatype BYTES, in V2's binary extension."""
    return v2_pictures(images[:1])


def v2_pictures(images: Pixels) -> Body:
    """All PNGs as elements of datatype BYTES, in V2's binary extension."""
    files = [_png(image) for image in images]
    elements = b"".join(struct.pack("<I", len(file)) + file for file in files)
    return _v2_binary([len(files), 1], "BYTES", elements)


def v2_octets(images: Pixels) -> Body:
    """784 bytes as a tensor in V2's binary extension."""
    return _v2_binary([1, 1, 28, 28], "UINT8", images[0].tobytes())


def v2_many_octets(images: Pixels) -> Body:
    """784 bytes of each as one tensor in V2's binary extension."""
    return _v2_binary([len(images), 1, 28, 28], "UINT8", images.tobytes())


def v2_numbers(images: Pixels) -> Body:
    """784 numbers as a tensor in V2's JSON."""
    return _v2_json([1, 1, 28, 28], "UINT8", images[0].ravel().tolist())


def v2_picture_in_json(images: Pixels) -> Body:
    """One PNG, in base64 in V2's JSON."""
    return v2_pictures_in_json(images[:1])


def v2_pictures_in_json(images: Pixels) -> Body:
    """All PNGs, in base64 in V2's JSON."""
    return _v2_json([len(images), 1], "BYTES", _base64(images), parameters={"content_type": "base64"})


def digits(answer: Any) -> list[int]:
    """The digits of an answer: V2's probabilities, a list of predictions with or without a frame, or one alone."""
    if isinstance(answer, list):
        return [prediction["digit"] for prediction in answer]
    if "outputs" in answer:
        probabilities = np.reshape(answer["outputs"][0]["data"], (-1, 10))
        return [int(digit) for digit in probabilities.argmax(1)]
    return digits(answer.get("predictions", [answer]))


def _png(image: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def _base64(images: Pixels) -> list[str]:
    return [base64.b64encode(_png(image)).decode() for image in images]


def _form(file: bytes) -> Body:
    content = f"--{BOUNDARY}\r\n{PART}\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()
    return Body({"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}, content)


def _json(value: object) -> Body:
    return Body({"Content-Type": "application/json"}, json.dumps(value).encode())


def _v2_json(shape: list[int], datatype: str, data: Sequence[object], **more: object) -> Body:
    return _json({"inputs": [{"name": "images", "shape": shape, "datatype": datatype, "data": data, **more}]})


def _v2_binary(shape: list[int], datatype: str, data: bytes) -> Body:
    parameters = {"binary_data_size": len(data)}
    header = _json({"inputs": [{"name": "images", "shape": shape, "datatype": datatype, "parameters": parameters}]})
    length = str(len(header.content))
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": length}
    return Body(headers, header.content + data)
