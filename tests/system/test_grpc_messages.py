"""Messages over gRPC: what one costs is bounded, and so is what many cost together, compressed or not."""

from __future__ import annotations

import threading
import zlib
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from service.access import keys
from service.codec import inference_pb2 as pb
from tests.support.grpc import INFER, WatchedMemory, at_once, infer, pss, request
from tests.support.http2 import Connection
from tests.support.pictures import Digits, png
from tests.support.service import VERSION, Service, running_service, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 2**20
LARGE = 31 * MIB
NAMED = pb.ModelInferRequest(model_name="mnist-mlp").SerializeToString()


@pytest.fixture
def alone() -> Iterator[Service]:
    """A service of its own for a test that measures it."""
    with running_service(grpc_port=0) as service:
        yield service


def test_without_a_key_no_message_is_read(tmp_path: Path) -> None:
    """Forty large messages without a key take no memory, and each call is refused for its key."""
    (tmp_path / "keys.txt").write_text(keys.new("shop", "infer", None)[1])
    with running_service(grpc_port=0, api_keys_file=tmp_path / "keys.txt") as service:
        at_once(service, 1, b"")
        with WatchedMemory(service) as watched:
            assert at_once(service, 40, bytes(LARGE)) == {"UNAUTHENTICATED": 40}
        assert watched.grown < 40


def test_large_messages_that_come_together_are_bounded(alone: Service) -> None:
    """Of thirty messages of 31 MiB some are refused with UNAVAILABLE, and the others read."""
    data = request(bytes(LARGE)).SerializeToString()
    at_once(alone, 1, b"")
    with WatchedMemory(alone) as watched:
        ends = at_once(alone, 30, data)
    assert set(ends) == {"INVALID_ARGUMENT", "UNAVAILABLE"}
    assert watched.grown < 500  # 3,000 without a limit
    until(lambda: pss(alone) < watched.before + 300, "the memory is kept")


def test_messages_that_never_end_are_bounded_and_given_up() -> None:
    """Of twenty messages that want one byte of 31 MiB too many are refused, and the others after their time."""
    with running_service(grpc_port=0, timeout_seconds=3) as service:
        ends: list[bytes] = []

        def one() -> None:
            with Connection(service.grpc) as connection:
                stream = connection.ask(INFER, LARGE)
                connection.finish(stream)
                ends.append(connection.answers[stream])

        with WatchedMemory(service) as watched:
            threads = [threading.Thread(target=one) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert watched.grown < 400
        late = [end for end in ends if b"did not arrive within 3 s" in end]
        full = [end for end in ends if b"which is the limit" in end]
        assert late
        assert full
        assert len(late) + len(full) == 20


def test_a_call_without_its_message_is_given_up() -> None:
    """DEADLINE_EXCEEDED after the time to receive a request, and no others wait for it."""
    with running_service(grpc_port=0, timeout_seconds=1) as service, Connection(service.grpc) as connection:
        stream = connection.call(INFER)
        connection.finish(stream)
        assert b"The message did not arrive within 1 s" in connection.answers[stream]


def test_a_call_that_ends_without_a_message_is_refused(channel: Any) -> None:
    """INVALID_ARGUMENT."""
    with pytest.raises(grpc.RpcError) as refusal:
        channel.stream_unary(INFER)(iter([]), timeout=60)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("wbits", [31, 15], ids=["gzip", "deflate"])
def test_what_a_message_unpacks_to_is_bounded(alone: Service, wbits: int) -> None:
    """256 MiB of zeros in 256 KiB are RESOURCE_EXHAUSTED, ten times at once, and take the worker no memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    bomb = packer.compress(NAMED) + b"".join(packer.compress(bytes(MIB)) for _ in range(256)) + packer.flush()
    with WatchedMemory(alone) as watched:
        ends = at_once(alone, 10, bomb)
    assert set(ends) <= {"RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}  # where others are read first
    assert ends["RESOURCE_EXHAUSTED"]
    assert watched.grown < 100


def parts(number: int) -> bytes:
    """An empty part of this field."""
    return bytes([number << 3 | 2, 0])


def part(number: int, data: bytes) -> bytes:
    """A part with other parts in it."""
    size, length = len(data), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


MANY: dict[str, Callable[[int], bytes]] = {
    "inputs": lambda size: parts(5) * (size // 2),
    "outputs": lambda size: parts(6) * (size // 2),
    "raw_input_contents": lambda size: parts(7) * (size // 2),
    "bytes_contents": lambda size: part(5, part(5, parts(8) * (size // 2))),
    "uint_contents": lambda size: part(5, part(5, part(4, b"\1" * size))),
    "uint_contents one by one": lambda size: part(5, part(5, b"\x20\1" * (size // 2))),
    "a shape": lambda size: part(5, part(3, b"\1" * size)),
    "parameters": lambda size: part(6, parts(2) * (size // 2)),
    "fields that are none of ours": lambda size: b"\x78\0" * (size // 2),
    "groups": lambda size: b"\x7b\x7c" * (size // 2),
}


@pytest.mark.parametrize("kind", MANY)
def test_a_message_of_many_parts_is_not_unpacked(alone: Service, kind: str) -> None:
    """Sixteen megabytes of empty parts, and all that fit in a small message: both are INVALID_ARGUMENT, at once."""
    channel = grpc.insecure_channel(alone.grpc, [("grpc.max_send_message_length", -1)])
    with channel, WatchedMemory(alone) as watched:
        for size in (16 * MIB, 60_000):
            with pytest.raises(grpc.RpcError) as refusal:
                channel.unary_unary(INFER)(NAMED + MANY[kind](size), timeout=60)
            assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert len(refusal.value.details()) < 200
    assert watched.grown < 150  # 640 where it is unpacked


def test_an_id_is_limited_and_never_cut(channel: Any, digits: Digits) -> None:
    """Of 1,024 bytes it is echoed, of one more it is refused; in a large message, too."""
    asked = request(digits.images[:3].tobytes())
    asked.id = "ä" * 512
    assert infer(channel, asked).id == asked.id
    for more in (b"", part(15, bytes(100_000))):
        asked.id = "x" * 1025
        with pytest.raises(grpc.RpcError) as refusal:
            channel.unary_unary(INFER)(asked.SerializeToString() + more, timeout=60)
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "1,024" in refusal.value.details()


def test_a_large_message_is_asked_for_as_a_small_one(channel: Any, digits: Digits) -> None:
    """Names and id are read from it wherever they stand, and the last of several counts, as in unpacking."""
    asked = request(digits.images[:3].tobytes())
    asked.model_name, asked.id = "other", "first"
    last = pb.ModelInferRequest(model_name="mnist-mlp", model_version=VERSION, id="last").SerializeToString()
    data = asked.SerializeToString() + part(15, bytes(100_000)) + last
    answer = pb.ModelInferResponse.FromString(channel.unary_unary(INFER)(data, timeout=60))
    assert (answer.id, answer.model_version, answer.outputs[0].shape) == ("last", VERSION, [3, 10])


def test_photographs_over_grpc_are_answered(channel: Any) -> None:
    """A picture of two megapixels, in a message that the client has compressed or not."""
    noise = np.random.default_rng(0).integers(0, 255, (1000, 2000), np.uint8)
    asked = request(datatype="BYTES", shape=[1], contents={"bytes_contents": [png(noise)]})
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert infer(channel, asked, compression=compression).outputs[0].shape == [1, 10]


def test_names_that_a_compressed_message_tells_late_are_refused(channel: Any, digits: Digits) -> None:
    """Who is asked stands in its first 64 KiB, where every library writes it; else it is INVALID_ARGUMENT."""
    asked = request(digits.images[:3].tobytes())
    data = asked.SerializeToString() + part(15, np.random.default_rng(0).bytes(100_000))
    for last, code in ((b"", None), (pb.ModelInferRequest(id="late").SerializeToString(), "INVALID_ARGUMENT")):
        call = channel.unary_unary(INFER).with_call
        try:
            call(data + last, timeout=60, compression=grpc.Compression.Gzip)
            assert code is None
        except grpc.RpcError as error:
            assert error.code().name == code
            assert "in the first 65,536 bytes" in error.details()
