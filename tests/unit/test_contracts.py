"""The private and undocumented parts of libraries that the service relies on do what the service expects of them.

An upgrade that changes one of them fails here, in one place; each docstring names the module that relies on it.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import ctypes
import hashlib
import inspect
import io
import signal
import socket
import ssl
import struct
import textwrap
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any

import fastapi
import grpc
import httptools
import httpx
import numpy as np
import prometheus_client
import pytest
import uvicorn
import uvloop.loop
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.staticfiles import StaticFiles
from model_signing._signing.sign_ec_key import Verifier
from model_signing._signing.sign_sigstore_pb import Signature
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from PIL import Image, PngImagePlugin, _imaging
from PIL.JpegImagePlugin import MARKER, JpegImageFile
from prometheus_client import values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.connection import drain, fast_path, holding
from service.model.signature import CURVES
from service.process import worker_process
from service.settings import Settings
from service.v2.grpc import sockets
from tests.support.otlp import Receiver
from tests.support.signing import make_keys, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GET = b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\n\r\n"


def parameters(function: Callable[..., object]) -> list[str]:
    return list(inspect.signature(function).parameters)


# uvicorn


class RecordingTransport(asyncio.Transport):
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.reading: list[bool] = []
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reading.append(False)

    def resume_reading(self) -> None:
        self.reading.append(True)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def on_a_connection(story: Callable[[HttpToolsProtocol, RecordingTransport], None]) -> None:
    """Play a story with uvicorn's protocol on a connection; no request is answered meanwhile."""

    async def app(scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(60)

    async def played() -> None:
        config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
        protocol = HttpToolsProtocol(config=config, server_state=ServerState(), app_state={"kept": 1})
        transport = RecordingTransport()
        protocol.connection_made(transport)
        story(protocol, transport)
        for task in protocol.tasks:
            task.cancel()
        await asyncio.gather(*protocol.tasks, return_exceptions=True)

    asyncio.run(played())


def test_uvicorn_has_the_status_lines() -> None:
    """`connection.writing` writes uvicorn's status lines, which end with a line feed."""
    assert STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINE[503] == b"HTTP/1.1 503 Service Unavailable\r\n"
    assert STATUS_LINE[499].startswith(b"HTTP/1.1 499 ")


def test_uvicorns_protocol_begins_requests_in_turn() -> None:
    """`connection.guard` overrides the start of a request and reads the protocol's state between requests."""

    def story(protocol: HttpToolsProtocol, transport: RecordingTransport) -> None:
        assert protocol.cycle is None
        assert protocol.client is None or len(protocol.client) == 2
        assert (protocol.scheme, protocol.app_state) == ("http", {"kept": 1})
        assert protocol.connections == {protocol}
        started: list[RequestResponseCycle] = []

        def start(cycle: RequestResponseCycle, app: object) -> None:
            started.append(cycle)

        protocol._start_asgi_task = start
        protocol.data_received(GET * 3)
        assert len(started) == 1  # the others wait
        first = started[0]
        assert isinstance(protocol.pipeline, deque)
        assert next(iter(protocol.pipeline))[0] is protocol.cycle  # the last that came
        assert (first.scope["path"], first.scope["raw_path"]) == ("/a b", b"/a%20b")
        assert first.scope["query_string"] == b"c=d"
        assert first.scope["headers"] == [(b"host", b"x")]
        assert first.scope["state"] == {"kept": 1}
        assert False in transport.reading  # until a request is answered, no more is read
        first.response_complete = True
        protocol.on_response_complete()
        assert len(started) == 2  # in the order in which they came
        assert started[1] is not protocol.cycle

    on_a_connection(story)
    assert parameters(HttpToolsProtocol._start_asgi_task) == ["self", "cycle", "app"]
    assert parameters(HttpToolsProtocol) == ["config", "server_state", "app_state", "_loop"]


def test_uvicorns_scope_and_headers_are_one_request() -> None:
    """`connection.guard` changes headers in place before the head is whole: the app's scope holds the same list."""

    def story(protocol: HttpToolsProtocol, _: RecordingTransport) -> None:
        protocol.data_received(GET[:-2])
        protocol.on_message_begin()
        assert protocol.scope["headers"] is protocol.headers
        assert (protocol.url, protocol.expect_100_continue) == (b"", False)
        protocol.on_url(b"/a")
        protocol.on_url(b"b")
        assert protocol.url == b"/ab"

    on_a_connection(story)


def test_uvicorn_tells_a_request_that_its_client_is_gone() -> None:
    """`connection.refusing` answers for the app, which then hears of a disconnection by the cycle's event."""

    def story(protocol: HttpToolsProtocol, _: RecordingTransport) -> None:
        protocol.data_received(GET.replace(b"GET", b"POST")[:-2] + b"Content-Length: 9\r\n\r\nabc")
        cycle = protocol.cycle
        assert (bytes(cycle.body), cycle.more_body, cycle.response_started) == (b"abc", True, False)
        assert (cycle.keep_alive, cycle.disconnected) == (True, False)
        assert cycle.message_event.is_set()
        cycle.message_event.clear()
        protocol.connection_lost(None)
        assert cycle.disconnected
        assert cycle.message_event.is_set()

    on_a_connection(story)


# Whose code reads `self.cycle`; the fast path itself knows which of the two it has there.
READERS = {
    HttpToolsProtocol.__module__,
    *(f"service.connection.{name}" for name in ("draining", "guard", "holding", "refusing")),
}


def attributes_of_cycle(protocol: type) -> set[str]:
    """The names that a protocol's own code uses of `self.cycle`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(protocol)))
    used = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in used if ast.unparse(node.value) == "self.cycle"}


def test_a_fast_request_has_all_that_uvicorn_asks_of_a_cycle() -> None:
    """`connection.fast_path` puts a request of its own in the place of uvicorn's cycle."""
    request = fast_path.SmallRequest(b"/predict", {})
    used = {
        name for kind in fast_path.FastPath.__mro__ if kind.__module__ in READERS for name in attributes_of_cycle(kind)
    }
    assert used >= {"disconnected", "response_complete"}
    assert [name for name in sorted(used) if not hasattr(request, name)] == []
    assert callable(request.message_event.set)


def test_uvicorns_timer_of_a_silent_connection_can_be_replaced() -> None:
    """`connection.draining` sets a timer in the place of uvicorn's, which every byte that comes stops."""

    def story(protocol: HttpToolsProtocol, transport: RecordingTransport) -> None:
        ended: list[str] = []
        protocol.timeout_keep_alive_task = protocol.loop.call_later(60, ended.append, "late")
        timer = protocol.timeout_keep_alive_task
        protocol._unset_keepalive_if_required()
        assert timer.cancelled()
        assert protocol.timeout_keep_alive_task is None
        protocol.timeout_keep_alive_handler()
        assert transport.closed

    on_a_connection(story)


def test_uvicorns_flow_control_pauses_once() -> None:
    """`connection.holding` lets `resume_reading` do nothing while enough is there."""
    transport = RecordingTransport()
    flow = FlowControl(transport)
    flow.pause_reading()
    flow.pause_reading()
    flow.resume_reading()
    assert transport.reading == [False, True]
    assert not flow.write_paused

    async def paused() -> bool:
        flow.pause_writing()
        return flow.write_paused

    assert asyncio.run(paused())


class RecordingServer(uvicorn.Server):
    """uvicorn's server, with `startup` overridden as `process.server` does, that ends when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.said: list[str] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets == []
        await self.lifespan.startup()
        assert not self.lifespan.should_exit
        assert self.lifespan.state == {"kept": 1}
        assert signal.getsignal(signal.SIGTERM) == self.handle_exit  # `connection.drain` calls it later
        self.servers = [self]  # type: ignore[list-item]
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.started = True
        self.should_exit = True

    def close(self) -> None:
        self.said.append("no more connections")

    def shutdown(self, sockets: list[socket.socket] | None = None) -> Any:
        if sockets is not None or not self.said:
            return super().shutdown(sockets)
        self.said.append("a connection is to end")
        self.server_state.connections.clear()
        return None

    async def wait_closed(self) -> None:
        self.said.append("closed")


def test_uvicorns_server_starts_and_ends_as_ours_expects() -> None:
    """`process.server` overrides `startup` and gives acceptors of its own, which the end closes and waits for."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        scope["state"]["kept"] = 1
        for answer in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{answer}.complete"})

    before = signal.getsignal(signal.SIGTERM)
    server = RecordingServer(uvicorn.Config(app, log_config=None, lifespan="on", http=HttpToolsProtocol, ws="none"))
    server.run([])
    assert server.said == ["no more connections", "a connection is to end", "closed"]
    assert signal.getsignal(signal.SIGTERM) == before
    assert server.config.http_protocol_class is HttpToolsProtocol
    assert parameters(uvicorn.Server.handle_exit) == ["self", "sig", "frame"]


def test_uvicorn_ends_with_its_exit_code_where_the_app_does_not_start() -> None:
    """`process.worker_process` tells such a worker by uvicorn's exit code."""
    assert STARTUP_FAILURE == worker_process.STARTUP_FAILURE


# uvloop


def test_uvloop_has_tls_as_a_protocol() -> None:
    """`connection.handshake` extends uvloop's own TLS protocol, and sees its transport and pauses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def made() -> object:
        loop = asyncio.get_running_loop()
        tls = uvloop.loop.SSLProtocol  # type: ignore[attr-defined]  # it has no types
        return tls(loop, asyncio.Protocol(), context, None, server_side=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        protocol = runner.run(made())
    assert isinstance(protocol, asyncio.BufferedProtocol | asyncio.Protocol) or hasattr(protocol, "get_buffer")
    for name in ("connection_made", "connection_lost", "pause_writing", "resume_writing", "eof_received"):
        assert callable(getattr(protocol, name))


# httptools


class RecordingParser:
    """Keeps what the parser says, and fails where it is told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.said: list[str] = []
        self.fails = fails

    def on_message_begin(self) -> None:
        self.said.append("begin")

    def on_headers_complete(self) -> None:
        if self.fails:
            raise LookupError("ours")
        self.said.append("headers")

    def on_message_complete(self) -> None:
        self.said.append("complete")


def test_httptools_says_where_an_upgrade_begins() -> None:
    """`connection.guard` reads on behind a request that asks for another protocol."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    parser = httptools.HttpRequestParser(RecordingParser())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    with pytest.raises(httptools.HttpParserUpgrade) as upgrade:
        parser.feed_data(head + b"body")
    assert (head + b"body")[upgrade.value.args[0] :] == b"body"
    assert (parser.get_method(), parser.get_http_version(), parser.should_upgrade()) == (b"POST", "1.1", True)


def test_httptools_keeps_the_error_of_a_callback() -> None:
    """`connection.guard` answers with the error that one of its own callbacks has raised."""
    with pytest.raises(httptools.HttpParserCallbackError) as failed:
        httptools.HttpRequestParser(RecordingParser(fails=True)).feed_data(GET)
    assert isinstance(failed.value.__context__, LookupError)
    assert issubclass(httptools.HttpParserCallbackError, httptools.HttpParserError)


def test_httptools_passes_over_what_comes_after_a_request_that_closes() -> None:
    """`connection.guard` passes over what comes behind a request that says `Connection: close`."""
    said = RecordingParser()
    parser = httptools.HttpRequestParser(said)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    parser.feed_data(GET.replace(b"Host", b"Connection: close\r\nHost") * 2)
    assert said.said == ["begin", "headers", "complete"]


# Pillow


def test_pillows_decoder_writes_into_memory_of_ours() -> None:
    """`picture.small_png` hands Pillow's PNG decoder a buffer; a negative number and no error say that it is whole."""
    rows = np.arange(784, dtype=np.uint8).reshape(28, 28)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    pixels = bytearray(784)
    for sent, whole in ((data, True), (data[:-30], False)):
        decoder = _imaging.zip_decoder("L", "L", 0)
        decoder.setimage(_imaging.map_buffer(pixels, (28, 28), "raw", 0, ("L", 0, 1)), (0, 0, 28, 28))
        wanting, error = decoder.decode(sent)
        assert (wanting < 0 and not error) == whole
    assert bytes(pixels) == rows.tobytes()


def test_pillow_limits_the_texts_of_a_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """`picture.decode` sets the module's limit, which Pillow reads when it opens a picture."""
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 2000)
    stream = io.BytesIO()
    Image.new("L", (5, 5)).save(stream, "PNG", pnginfo=text)
    PngImagePlugin.PngImageFile(io.BytesIO(stream.getvalue()))
    monkeypatch.setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1000)
    with pytest.raises(ValueError, match="MAX_TEXT_MEMORY"):
        PngImagePlugin.PngImageFile(io.BytesIO(stream.getvalue()))


def test_pillow_reads_no_length_after_bare_markers() -> None:
    """`picture.containers` walks a JPEG as Pillow does: markers without a handler have no length."""
    bare = {marker & 0xFF for marker, (_, _, handler) in MARKER.items() if handler is None}
    assert bare >= {0xD8, 0xD9, *range(0xD0, 0xD8)}  # start and end of image, restarts
    assert bare.isdisjoint({0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xE0, 0xE1, 0xFE})


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pillow_stops_at_the_first_scan_of_a_jpeg(mode: str) -> None:
    """`picture.decode` finds the first scan's header behind the file's position, and the components in `layer`."""
    stream = io.BytesIO()
    Image.new(mode, (40, 30)).save(stream, "JPEG", subsampling=2)
    image = JpegImageFile(io.BytesIO(stream.getvalue()))
    assert image.fp is not None
    assert image.layers == len(image.layer) == len(mode)
    sampling = [(across, down) for _, across, down, _ in image.layer]
    assert sampling == [(2, 2), (1, 1), (1, 1)][: image.layers]
    size = 6 + 2 * image.layers
    head = stream.getvalue()[image.fp.tell() - size - 2 :]
    assert head[:5] == b"\xff\xda" + size.to_bytes(2) + bytes([image.layers])
    assert "progressive" not in image.info
    stream = io.BytesIO()
    Image.new(mode, (40, 30)).save(stream, "JPEG", progressive=True)
    assert "progressive" in JpegImageFile(io.BytesIO(stream.getvalue())).info


def test_pillow_reads_a_jpeg_in_pieces_of_the_size_that_it_is_told() -> None:
    """`picture.decode` has the decoder take the whole file at once, which is linear for fill bytes."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400), np.uint8))
    stream = io.BytesIO()
    noise.save(stream, "JPEG", quality=95)

    class Counting(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            self.reads += 1
            return super().read(size)

    counts = []
    for block in (1000, len(stream.getvalue())):
        file = Counting(stream.getvalue())
        image = JpegImageFile(file)
        image.decodermaxblock = block
        file.reads = 0
        image.load()
        counts.append(file.reads)
    assert counts[0] > 50
    assert counts[1] < 5


def test_pillow_drafts_a_jpeg_smaller() -> None:
    """`picture.decode` has large JPEGs decoded straight to an eighth at least."""
    stream = io.BytesIO()
    Image.new("L", (800, 800)).save(stream, "JPEG")
    image = JpegImageFile(io.BytesIO(stream.getvalue()))
    image.draft(image.mode, (100, 100))
    assert image.size == (100, 100)


# prometheus_client


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which this process's numbers are shared."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    yield tmp_path


def test_prometheus_client_writes_through_the_class_that_it_is_given(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`observability.shared_metrics` puts a class of its own in the place of `values.MmapedDict`."""
    made: list[str] = []

    class Recording(MmapedDict):
        def __init__(self, path: str) -> None:
            made.append(path)
            super().__init__(path)  # type: ignore[no-untyped-call]

    monkeypatch.setattr(values, "MmapedDict", Recording)
    value = values.MultiProcessValue(lambda: 7)  # type: ignore[no-untyped-call]
    value("counter", "events", "events_total", ("kind",), ("a",), "help").inc(2)
    value("gauge", "last", "last", (), (), "help", multiprocess_mode="max").set(5)
    assert made == [str(shared / "counter_7.db"), str(shared / "gauge_max_7.db")]
    merged = {metric.name: metric for metric in MultiProcessCollector.merge(made)}  # type: ignore[no-untyped-call]
    assert [(s.name, s.labels, s.value) for s in merged["events"].samples] == [("events_total", {"kind": "a"}, 2)]
    assert [s.value for s in merged["last"].samples] == [5]


def test_prometheus_clients_file_has_the_form_that_ours_reserves(tmp_path: Path) -> None:
    """`system.reserved_file` makes files of zeros, and keeps room in them by the client's own fields."""
    path = tmp_path / "counter_1.db"
    path.write_bytes(bytes(4096))
    file = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    assert (file._capacity, file._used, file._positions, len(file._m)) == (4096, 8, {}, 4096)
    key = "x" * 11
    file._init_value(key)  # type: ignore[no-untyped-call]
    assert file._used - 8 <= len(key) + 4 + 8 + 16  # what is reserved for a key and its number at most
    assert file._positions == {key: file._used - 16}
    file.write_value(key, 2.5, 0.0)  # type: ignore[no-untyped-call]
    assert struct.unpack("d", file._m[file._used - 16 : file._used - 8]) == (2.5,)
    assert file._f.fileno() > 2
    found = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
    assert [(name, number) for name, number, _, _ in found] == [(key, 2.5)]
    file.close()  # type: ignore[no-untyped-call]
    assert path.stat().st_size == 4096


def test_prometheus_clients_histogram_keeps_each_bucket_alone() -> None:
    """`observability.buffered_metrics` adds to the sum and to each bucket: they are added up when they are read."""
    histogram = prometheus_client.Histogram("sizes", "x", buckets=(1, 2), registry=None)
    histogram.observe(1.5)
    assert [bucket.get() for bucket in histogram._buckets] == [0, 1, 0]
    histogram._buckets[0].inc(2)
    histogram._sum.inc(1)
    (metric,) = histogram.collect()
    found = {sample.labels.get("le", sample.name): sample.value for sample in metric.samples}
    assert [found[name] for name in ("1.0", "2.0", "+Inf", "sizes_count", "sizes_sum")] == [2, 3, 3, 3, 2.5]


def test_prometheus_clients_encoders_need_no_more_than_collect() -> None:
    """`observability.exposition` hands them an object with `collect`, and asks for the encoder by `Accept`."""

    class Collected:
        def collect(self) -> list[prometheus_client.Metric]:
            metric = prometheus_client.Metric("x", "help", "gauge")
            metric.add_sample("x", {}, 1)
            return [metric]

    for accept, kind in (
        ("", CONTENT_TYPE_PLAIN_0_0_4),
        ("application/openmetrics-text", "application/openmetrics-text"),
    ):
        encode, found = choose_encoder(accept)
        assert found.startswith(kind)
        assert b"x 1.0\n" in encode(Collected())
    with pytest.raises(TypeError):
        choose_encoder("text/plain;version=a")


# FastAPI, Starlette, pydantic-settings, python-multipart


def test_fastapi_names_the_route_in_the_scope() -> None:
    """`access.authorisation` and `observability.requests` read the route's template before the route runs."""
    seen: list[str] = []

    async def look(request: fastapi.Request) -> None:
        seen.append(request.scope["route"].path)

    app = fastapi.FastAPI(dependencies=[fastapi.Depends(look)])

    @app.get("/models/{model}")
    async def model(model: str) -> str:
        return model

    async def ask() -> int:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return (await client.get("/models/a")).status_code

    assert asyncio.run(ask()) == 200
    assert seen == ["/models/{model}"]


def test_starlettes_static_files_can_be_narrowed() -> None:
    """`api.pages` overrides how a path is found, and adds headers to each file."""
    assert parameters(StaticFiles.get_path) == ["self", "scope"]
    assert "file_response" in vars(StaticFiles)
    assert StaticFiles(directory=".").get_path({"path": "/page/a//b", "root_path": "/page", "type": "http"}) == "a/b"


def test_pydantic_settings_take_a_list_of_flags() -> None:
    """`settings` reads flags from a list when it is called, and none where it is told False."""
    assert Settings(_cli_parse_args=["--port", "8123"]).port == 8123  # type: ignore[call-arg]
    assert Settings(_cli_parse_args=False).port == Settings.model_fields["port"].get_default(call_default_factory=True)  # type: ignore[call-arg]


def test_multiparts_parser_limits_headers() -> None:
    """`codec.any_multipart` reads forms by callbacks, with a limit on the bytes of a part's header."""
    seen: list[bytes] = []
    form = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nxyz\r\n--b--\r\n'
    read = MultipartParser(b"b", {"on_part_data": lambda data, start, end: seen.append(data[start:end])})
    assert read.write(form) == len(form)
    assert b"".join(seen) == b"xyz"
    with pytest.raises(FormParserError):
        MultipartParser(b"b", {}, max_header_size=10).write(form)
    assert parse_options_header(b'form-data; filename="a"') == (b"form-data", {b"filename": b"a"})


# gRPC


def test_grpcs_errors_are_told_apart() -> None:
    """`v2.grpc` ends calls from beside them, and writes to clients that are gone."""
    assert issubclass(grpc.aio.InternalError, grpc.aio.BaseError)
    assert issubclass(grpc.aio.AbortError, grpc.aio.BaseError)
    assert not issubclass(grpc.aio.AbortError, grpc.aio.InternalError)
    assert parameters(grpc.dynamic_ssl_server_credentials)[:2] == [
        "initial_certificate_configuration",
        "certificate_configuration_fetcher",
    ]


def test_grpc_names_peers_and_hides_its_sockets() -> None:
    """`v2.grpc.sockets` finds core's connections among the process's descriptors, by the peer's name."""
    handled: list[str] = []

    async def handler(_: object, context: Any) -> bytes:
        handled.append(context.peer())
        return b""

    async def story() -> None:
        server = grpc.aio.server()
        rpc = grpc.stream_unary_rpc_method_handler(handler)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("a.A", {"M": rpc})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.unary_unary("/a.A/M")(b"xyz", timeout=60) == b""
            peer = sockets.peer_of(handled[0])
            found = sockets.Sockets(port)
            assert list(found.silent_ms()) == [peer]
            assert found.received([peer])[peer] > 3
        await server.stop(None)

    asyncio.run(story())


# model-signing


def test_model_signing_verifies_in_memory_files_with_a_key(models: Path, tmp_path: Path) -> None:
    """`model.verification` reads signature and key by private classes, and compares what a manifest lists.

    The signature names its key by the SHA-256 of its PEM.
    """
    keys = make_keys(tmp_path)
    signature = Signature.read(sign(models / "1", keys))
    named = signature.bundle.verification_material.public_key.hint
    assert named == hashlib.sha256(keys.public.read_bytes()).hexdigest()
    manifest = Verifier(keys.public).verify(signature)
    assert {
        each.identifier: (each.digest.algorithm, each.digest.digest_hex) for each in manifest.resource_descriptors()
    } == {path.name: ("sha256", hashlib.sha256(path.read_bytes()).hexdigest()) for path in (models / "1").iterdir()}
    with pytest.raises(ValueError, match="Key mismatch"):
        Verifier(make_keys(tmp_path, "other").public).verify(signature)
    signature.bundle.dsse_envelope.payload += b" "
    with pytest.raises(InvalidSignature):
        Verifier(keys.public).verify(signature)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.SECP256K1()])
def test_model_signing_knows_three_curves(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """`model.signature` refuses a key of another curve at the start."""
    key = make_keys(tmp_path, curve=curve).public
    with contextlib.nullcontext() if curve.name in CURVES else pytest.raises(ValueError, match="Unsupported key"):
        Verifier(key)


# OpenTelemetry


def test_opentelemetrys_exporter_has_a_client_that_sends_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`service.observability.span_exporter`: it sends encoded spans by the variables, and says whether they arrived."""
    with Receiver().serving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
        client = OTLPSpanExporter()._client
        assert client.export(b"").success
        assert receiver.headers is not None
        assert receiver.headers["api-key"] == "secret"
        receiver.status = 400
        assert not client.export(b"").success
        receiver.status = 503
        client.shutdown()
        assert not client.export(b"").success  # and no second try, for which it would wait


# Linux and glibc


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket, socket.socket]]:
    """A listening socket, and both ends of a connection to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=30)
        theirs, _ = listener.accept()
        with ours, theirs:
            yield listener, ours, theirs


def test_linux_counts_the_bytes_of_a_connection() -> None:
    """`connection.holding` and `v2.grpc.sockets` read struct tcp_info at fixed places."""
    with connected() as (_, ours, theirs):
        ours.sendall(bytes(5000))
        assert len(theirs.recv(5000, socket.MSG_WAITALL)) == 5000
        assert sockets._info(theirs, sockets.RECEIVED) == 5000
        assert sockets._info(theirs, sockets.LAST_DATA) < 60_000
        size, deadline = 0, time.monotonic() + 30
        while size < 5000 and time.monotonic() < deadline:  # the acknowledgement is on its way
            info = ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, holding.BYTES_ACKED.stop)
            size = int.from_bytes(info[holding.BYTES_ACKED], "little")
        assert 5000 <= size <= 5002


def test_linux_drops_new_connections_and_keeps_the_others() -> None:
    """`connection.drain` attaches a filter to the listening socket."""
    with connected() as (listener, ours, theirs):
        drain.refuse_connections(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.2)
        ours.sendall(b"x")
        assert theirs.recv(1) == b"x"


def test_glibc_gives_memory_back() -> None:
    """`system.heap` and `v2.grpc.heap` call glibc; `system.confinement` and `system.orphans` call prctl."""
    library = ctypes.CDLL(None)
    for name in ("malloc_trim", "mallopt", "prctl"):
        assert hasattr(library, name)
