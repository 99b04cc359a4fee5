"""Limits of gRPC: calls, streams, watchers and connections of one client leave room for others, and for HTTP."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.codec import inference_pb2 as pb
from service.v2.grpc.health import MAX_WATCHERS
from service.v2.grpc.limits import STREAMS
from tests.support.grpc import WatchedMemory, infer, method, request
from tests.support.http2 import Connection
from tests.support.service import VERSION, running_service, until

if TYPE_CHECKING:
    from tests.support.pictures import Digits

NAMED = pb.ModelInferRequest(model_name="mnist-mlp").SerializeToString()
WATCH = "/grpc.health.v1.Health/Watch"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"


@pytest.mark.parametrize("name", ["x-request-id", "x-api-key", "authorization"])
def test_metadata_with_two_readings_is_refused(channel: Any, name: str) -> None:
    """A header that has one value is INVALID_ARGUMENT where it comes twice."""
    with pytest.raises(grpc.RpcError) as refusal:
        infer(channel, request(), metadata=((name, "a"), (name, "b")))
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert name in refusal.value.details()


def test_an_unknown_service_is_quoted_in_part(channel: Any) -> None:
    """Of a name of 10,000 characters 80 come back."""
    with pytest.raises(grpc.RpcError) as refusal:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="x" * 10_000))
    assert refusal.value.details() == "unknown service: " + "x" * 79 + "…"


def test_many_calls_at_once_are_answered(channel: Any, digits: Digits) -> None:
    """Two hundred and fifty-six over one connection, each with its own answer."""
    asked = [request(digits.images[number : number + 3].tobytes()) for number in range(256)]
    for number, one in enumerate(asked):
        one.id = str(number)
    calls = [method(channel).future(one, timeout=60) for one in asked]
    assert [call.result().id for call in calls] == [str(number) for number in range(256)]


def test_watchers_are_few() -> None:
    """Of a thousand over one connection sixteen watch, the others are refused; and HTTP is answered."""
    with running_service(grpc_port=0) as service, Connection(service.grpc) as connection:
        connection.receive()
        with WatchedMemory(service) as watched:
            streams = [connection.call(WATCH, b"") for _ in range(1000)]
            until(lambda: connection.receive(0.1) or len(connection.ended) >= 1000 - MAX_WATCHERS, "more are watching")
            while connection.receive(1):
                pass
        assert len(connection.ended) == 1000 - MAX_WATCHERS
        assert any(b"watchers, which is the limit" in connection.answers.get(one, b"") for one in streams)
        assert watched.grown < 60


def test_the_stream_that_is_idle_the_longest_makes_room() -> None:
    """Over the limit of streams the oldest ends with UNAVAILABLE, and the newest is answered."""
    with running_service(grpc_port=0) as service, Connection(service.grpc) as connection:
        connection.receive()
        first, *_ = [connection.call(STREAM) for _ in range(STREAMS + 1)]
        connection.finish(first)
        assert b"streams, which is the limit" in connection.answers[first]
        assert connection.ended == {first}


@pytest.mark.parametrize(("path", "message"), [(LIVE, b""), (STREAM, NAMED), (WATCH, b"")])
def test_a_client_that_takes_no_answer_is_cut_off(path: str, message: bytes) -> None:
    """With no room for an answer its connection is closed after the time to take one."""
    with running_service(grpc_port=0, timeout_seconds=1) as service, Connection(service.grpc, window=0) as connection:
        connection.call(path, message)
        until(lambda: not connection.receive(0.1) and connection.gone, "the connection stays open")


def test_silent_connections_leave_descriptors_for_others(digits: Digits) -> None:
    """Beside 250 of them HTTP is answered, and a client of gRPC is when some of them have been cut off."""
    under = ["prlimit", "--nofile=256:256"]
    with running_service(grpc_port=0, under=under) as service:
        host, _, port = service.grpc.rpartition(":")
        silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(250)]
        with WatchedMemory(service):

            def answered() -> bool:
                with grpc.insecure_channel(service.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                    try:
                        return infer(channel, request(digits.images[:3].tobytes())).model_version == VERSION
                    except grpc.RpcError:
                        return False

            until(answered, "gRPC is not answered")
        for connection in silent:
            connection.close()


def test_silent_connections_are_closed() -> None:
    """One that never says that it speaks HTTP/2 is, after the time to send a request."""
    with running_service(grpc_port=0, timeout_seconds=1) as service:
        host, _, port = service.grpc.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            while connection.recv(1024):
                pass
