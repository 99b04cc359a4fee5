"""gRPC while versions change and processes end: each answer is that of the version it names, and no call is lost."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.codec import inference_pb2 as pb
from service.commands.cli import run_alone
from service.model.classifier import Classifier
from service.v2.grpc.calls import SERVICE
from service.versions.canary import CanaryTrial
from service.versions.choice import CanarySpec
from tests.support.processes import worker_pids
from tests.support.service import MODELS, VERSION, Service, publish, running_service, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.arrays import Pixels
    from tests.support.pictures import Digits
    from tests.support.traffic import Expected

MODEL = "mnist-mlp"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WHOLE = health_pb2.HealthCheckRequest()


def connected(address: str) -> Any:
    """A channel with a connection of its own; others would share one."""
    return grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])


def ask(channel: Any, name: str, /, **fields: Any) -> Any:
    """One call of a method of the protocol."""
    method = SERVICE.methods_by_name[name]
    taken, given = getattr(pb, method.input_type.name), getattr(pb, method.output_type.name)
    call = channel.unary_unary(
        f"/{SERVICE.full_name}/{name}",
        request_serializer=taken.SerializeToString,
        response_deserializer=given.FromString,
    )
    return call(taken(**fields), timeout=60)


def infer(channel: Any, image: Pixels, **fields: Any) -> pb.ModelInferResponse:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 1, 28, 28]}
    fields |= {"model_name": MODEL, "inputs": [tensor], "raw_input_contents": [image.tobytes()]}
    return ask(channel, "ModelInfer", **fields)  # type: ignore[no-any-return]


def refusal(channel: Any, name: str, /, **fields: Any) -> tuple[str, str]:
    """The status and the sentence of a call that is refused."""
    with pytest.raises(grpc.RpcError) as found:
        ask(channel, name, **fields)
    return found.value.code().name, found.value.details()


def health(channel: Any) -> int:
    return health_pb2_grpc.HealthStub(channel).Check(WHOLE, timeout=60).status  # type: ignore[no-any-return]


@dataclass
class Callers:
    """Clients that call until they are stopped, or until they cannot connect; three keep their channel, two do not."""

    address: str
    expected: Expected
    answered: Counter[str] = field(default_factory=Counter)  # by version
    failures: list[str] = field(default_factory=list)
    refused: int = 0  # clients that could not connect
    _stopped: bool = False

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._client, args=(number,)) for number in range(5)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the clients finish what they have begun."""
        self._stopped = True
        self.wait_until_refused()

    def wait_until_refused(self) -> None:
        """Wait until nobody listens any more."""
        for thread in self._threads:
            thread.join()

    def _client(self, number: int) -> None:
        index, channel = number, connected(self.address)
        while not self._stopped:
            index = (index + 5) % len(self.expected.images)
            try:
                self._judge(index, infer(channel, self.expected.images[index]))
            except grpc.RpcError as error:
                if error.details().startswith("failed to connect to all addresses"):
                    self.refused += 1
                    break
                self.failures.append(f"client {number}: {error.code().name}: {error.details()}")
            if number >= 3:
                channel.close()
                channel = connected(self.address)
        channel.close()

    def _judge(self, index: int, answer: pb.ModelInferResponse) -> None:
        found = np.frombuffer(answer.raw_output_contents[0], np.float32)
        if np.abs(found - self.expected.answers[answer.model_version][index]).max() < 1e-5:
            self.answered[answer.model_version] += 1
        else:
            self.failures.append(f"image {index}: not the answer of version {answer.model_version}, which it names")


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_name_the_new_version_after_a_swap(models: Path, expected: Expected, workers: int) -> None:
    """No call is lost while the version changes, no answer is another's, and whatever tells of the model follows."""
    with (
        running_service(model_dir=models, model_version="latest", workers=workers, grpc_port=0) as service,
        Callers(service.grpc, expected) as callers,
    ):
        until(lambda: callers.answered["1"], "nothing is answered")
        publish(models, 2)

        def versions() -> set[str]:
            found = set()
            for _ in range(20):  # one at least reaches each worker
                with connected(service.grpc) as channel:
                    found |= set(ask(channel, "ModelMetadata", name=MODEL).versions)
            return found

        until(lambda: versions() == {"2"}, "version 2 is not served")
        before = callers.answered["2"]
        until(lambda: callers.answered["2"] > before, "version 2 does not answer")
        callers.stop()
        with connected(service.grpc) as channel:
            assert ask(channel, "ModelReady", name=MODEL, version="2").ready
            assert refusal(channel, "ModelReady", name=MODEL, version="1")[0] == "NOT_FOUND"
            assert refusal(channel, "ModelConfig", name=MODEL, version="1")[0] == "NOT_FOUND"
            assert [model.version for model in ask(channel, "ModelStatistics").model_stats] == ["2"]
            index = ask(channel, "RepositoryIndex").models
            assert [(model.version, model.state) for model in index] == [("2", "READY"), ("1", "UNAVAILABLE")]
    assert callers.failures == []
    assert callers.refused == 0
    assert set(callers.answered) == {"1", "2"}


@pytest.fixture
def admin(models: Path) -> Iterator[Service]:
    """A service whose clients may load and unload."""
    with running_service(model_dir=models, model_version="latest", admin=True, grpc_port=0) as service:
        yield service


def test_clients_load_and_unload_where_they_may(admin: Service, digits: Digits) -> None:
    """Without a model nothing is ready and calls are UNAVAILABLE; who watches health learns of both changes."""
    with connected(admin.grpc) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(WHOLE, timeout=60)
        assert next(watched).status == SERVING
        assert refusal(channel, "RepositoryModelUnload", model_name="other")[0] == "NOT_FOUND"
        ask(channel, "RepositoryModelUnload", model_name=MODEL)
        assert next(watched).status == NOT_SERVING
        assert health(channel) == NOT_SERVING
        assert not ask(channel, "ServerReady").ready
        for asked in ("ModelReady", "ModelMetadata"):
            status, sentence = refusal(channel, asked, name=MODEL)
            assert (status, sentence) == ("UNAVAILABLE", "No model version is loaded; /readyz tells when one is.")
        ask(channel, "RepositoryModelLoad", model_name=MODEL)
        assert next(watched).status == SERVING
        assert infer(channel, digits.images[0]).model_version == "1"


def test_a_version_that_is_refused_is_told_as_such(admin: Service, models: Path) -> None:
    """An order to load it is an INVALID_ARGUMENT with the reason, which stands in the index too."""
    publish(models, 2)
    (models / "2" / "golden.npz").write_bytes(b"")
    with connected(admin.grpc) as channel:
        status, sentence = refusal(channel, "RepositoryModelLoad", model_name=MODEL)
        assert status == "INVALID_ARGUMENT"
        assert "models/2/golden.npz: expected sha256" in sentence
        assert str(models) not in sentence
        index = ask(channel, "RepositoryIndex").models
        assert [(model.version, model.reason) for model in index] == [("2", sentence), ("1", "")]


def test_clients_load_and_unload_only_where_they_may() -> None:
    """PERMISSION_DENIED by default, for both."""
    with running_service(grpc_port=0) as service, connected(service.grpc) as channel:
        for asked in ("RepositoryModelLoad", "RepositoryModelUnload"):
            status, sentence = refusal(channel, asked, model_name=MODEL)
            assert status == "PERMISSION_DENIED"
            assert "MNIST_ADMIN" in sentence


def test_a_canary_answers_its_share_of_the_ids(models: Path, digits: Digits) -> None:
    """A call's own id chooses, as over HTTP, and who names a version gets it."""
    publish(models, 2)
    assert run_alone("canary", ["1", "--percent", "50", "--model-dir", str(models)]) == 0
    canary = CanaryTrial(Classifier.load(MODELS, "1"), CanarySpec(1, 50, 0))
    with (
        running_service(model_dir=models, model_version="2", grpc_port=0) as service,
        connected(service.grpc) as channel,
    ):

        def answered(name: str, version: str = "") -> str:
            return infer(channel, digits.images[0], id=name, model_version=version).model_version

        ids = [f"client-{number}" for number in range(20)]
        until(lambda: "1" in map(answered, ids), "the canary is not there")
        assert [answered(name) == "1" for name in ids] == [canary.answers(name) for name in ids]
        for version in ("1", "2"):
            assert {answered(name, version) for name in ids} == {version}


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_calls_loses_none(expected: Expected, workers: int) -> None:
    """Clients that keep channels and clients that make them: each call is answered, until nobody can connect."""
    with (
        running_service(workers=workers, grpc_port=0) as service,
        Callers(service.grpc, expected) as callers,
    ):
        until(lambda: callers.answered[VERSION] > 50, "nothing is answered")
        service.process.send_signal(signal.SIGTERM)
        callers.wait_until_refused()
        assert service.process.wait(60) == 0
    assert callers.failures == []
    assert callers.refused == 5


def test_it_is_not_ready_before_it_stops_answering(digits: Digits) -> None:
    """During the drain who watches health is told, who asks too, and calls are answered; then the stream ends."""
    with running_service(drain_seconds=3, grpc_port=0) as service, connected(service.grpc) as channel:
        watched = health_pb2_grpc.HealthStub(channel).Watch(WHOLE, timeout=60)
        assert next(watched).status == SERVING
        service.process.send_signal(signal.SIGTERM)
        assert next(watched).status == NOT_SERVING
        assert health(channel) == NOT_SERVING
        assert not ask(channel, "ServerReady").ready
        assert not ask(channel, "ModelReady", name=MODEL).ready
        assert infer(channel, digits.images[0]).model_version == VERSION
        assert list(watched) == []
        assert service.process.wait(60) == 0


def test_sighup_replaces_workers_on_the_shared_port(expected: Expected) -> None:
    """Each worker is another process afterwards, and no call is lost or refused meanwhile."""
    with running_service(workers=2, grpc_port=0) as service, Callers(service.grpc, expected) as callers:
        before = set(worker_pids(service))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: len(set(worker_pids(service)) - before) == 2, "the workers are not replaced")
        until(lambda: not set(worker_pids(service)) & before, "the old workers do not end")
        after = sum(callers.answered.values())
        until(lambda: sum(callers.answered.values()) > after, "nothing is answered")
        callers.stop()
    assert callers.failures == []
    assert callers.refused == 0


def test_sighup_resets_no_new_connection() -> None:
    """Connections that begin while workers are replaced are those of some worker, which greets them."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")  # RFC 9113 section 3.4
    broken: list[str] = []
    greeted = [0]
    replaced = threading.Event()

    def connect(address: tuple[str, int]) -> None:
        while not replaced.is_set():
            try:
                with socket.create_connection(address, timeout=10) as connection:
                    connection.sendall(preface)
                    broken.extend([] if connection.recv(1) else ["closed"])
                    greeted[0] += 1
            except OSError as error:
                broken.append(str(error))

    with running_service(workers=2, grpc_port=0) as service:
        host, _, port = service.grpc.rpartition(":")
        clients = [threading.Thread(target=connect, args=((host, int(port)),)) for _ in range(4)]
        for client in clients:
            client.start()
        before = set(worker_pids(service))
        service.process.send_signal(signal.SIGHUP)
        until(lambda: not set(worker_pids(service)) & before, "the old workers do not end")
        replaced.set()
        for client in clients:
            client.join()
    assert greeted[0] > 100
    assert broken == []
