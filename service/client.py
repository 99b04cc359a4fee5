"""A client for scripts and shells: pictures in, digits out.

    python -m service.client digit.png scans/ --url http://127.0.0.1:8000

    with Client("http://127.0.0.1:8000") as client:
        client.predict(Path("digit.png")).digit

In: bytes of pictures, or paths of them. Out: a `Prediction` each, or the `Refused` that says why not. Many pictures go
in few requests, over one connection. It knows HTTP and the service's JSON; it uses the standard library alone and
nothing else of this package, so this one file can be copied.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import http.client
import json
import os
import re
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import NoReturn

DEFAULT_URL = "http://127.0.0.1:8000"
# One request's share: half of what the service takes unless it is set up otherwise. It says 413 if this is too much.
BATCH_FILES, BATCH_BYTES = 32, 16 * 2**20
BUSY = {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE}
TRIES = 5
# Of the pictures in a folder. The service tells the format by the bytes.
SUFFIXES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class ClientError(Exception):
    """No answer to anything: the service cannot be reached, or what is there is not this service."""


class Refused(Exception):
    """One picture without an answer; `status` is HTTP's, or 0 where the picture could not even be read here."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class Prediction:
    """The service's answer to one picture: `probabilities` of 0 to 9, `warnings` by name; no digit without ink.

    `set` has the digits that hold the right one with the wanted coverage, most probable first; empty without one.
    """

    digit: int | None
    confidence: float
    probabilities: tuple[float, ...]
    warnings: tuple[str, ...]
    set: tuple[int, ...] = ()


Outcome: TypeAlias = "Prediction | Refused"
Reply: TypeAlias = "tuple[http.client.HTTPResponse, bytes]"  # its status and headers; its body


class Client:
    """One service at one URL, over one connection that is kept; not for several threads at once.

    With a `coverage` of 0.9 to 0.9999, each prediction has the set of digits that holds the right one so often. With a
    `traceparent`, as W3C Trace Context writes it, the service's spans are children of the caller's.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = 30.0,
        coverage: float | None = None,
        traceparent: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"expected a URL such as {DEFAULT_URL}, found {url!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.url = url
        self._path = parts.path.rstrip("/") + ("/predict" if coverage is None else f"/predict?coverage={coverage}")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        if traceparent is not None:
            self._headers["traceparent"] = traceparent
        self._connection = kind(parts.hostname, parts.port, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; the next question opens another."""
        self._connection.close()

    def predict(self, picture: bytes | Path) -> Prediction:
        """The answer to one picture; raises `Refused` or `ClientError`."""
        (outcome,) = self.predict_many([picture])
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def predict_many(self, pictures: Iterable[bytes | Path]) -> Iterator[Outcome]:
        """An outcome for each picture, in order; reads files as it goes; raises `ClientError` alone."""
        for batch in _batches(pictures):
            yield from self._ask(batch)

    def _ask(self, batch: list[bytes | Refused]) -> Iterator[Outcome]:
        readable = [item for item in batch if isinstance(item, bytes)]
        answers = iter(self._answer(readable) if readable else [])
        for item in batch:
            yield item if isinstance(item, Refused) else next(answers)

    def _answer(self, pictures: list[bytes]) -> list[Outcome]:
        form = _form(pictures) if len(pictures) > 1 else ("image/png", pictures[0])
        reply, body = self._post(*form)
        try:
            document = json.loads(body)
            if reply.status == http.HTTPStatus.OK:
                return [_outcome(item) for item in document["predictions"]]
            refusal = _refused(document)
        except (ValueError, KeyError, TypeError):
            raise ClientError(f"{self.url} answered {reply.status} with something that is not /predict's") from None
        if refusal.status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(pictures) > 1:
            middle = len(pictures) // 2
            return self._answer(pictures[:middle]) + self._answer(pictures[middle:])
        return [refusal] * len(pictures)

    def _post(self, content_type: str, body: bytes) -> Reply:
        """The answer to one request; a service that is full is asked again when it says so."""
        for _ in range(TRIES - 1):
            reply, answer = self._exchange(content_type, body)
            if reply.status not in BUSY:
                return reply, answer
            wait = reply.headers.get("Retry-After", "")
            time.sleep(int(wait) if wait.isdecimal() else 1)
        return self._exchange(content_type, body)

    def _exchange(self, content_type: str, body: bytes) -> Reply:
        kept = self._connection.sock is not None
        try:
            return self._once(content_type, body)
        except TimeoutError:
            self.close()
            raise ClientError(f"{self.url} did not answer within {self._connection.timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept:  # the service may close a connection that nobody used for a while; asking twice does no harm
                return self._exchange(content_type, body)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ClientError(f"no service at {self.url}: {reason}") from None

    def _once(self, content_type: str, body: bytes) -> Reply:
        # A refusal may come before the body is through: then the sending breaks, and the answer is there to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.request("POST", self._path, body, {**self._headers, "Content-Type": content_type})
        response = self._connection.getresponse()
        return response, response.read()


def _batches(pictures: Iterable[bytes | Path]) -> Iterator[list[bytes | Refused]]:
    batch: list[bytes | Refused] = []
    size = 0
    for picture in pictures:
        item = _read(picture) if isinstance(picture, Path) else picture
        length = len(item) if isinstance(item, bytes) else 0
        if batch and (len(batch) == BATCH_FILES or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _read(path: Path) -> bytes | Refused:
    try:
        return path.read_bytes()
    except OSError as error:
        return Refused(error.strerror or str(error))


def _form(pictures: list[bytes]) -> tuple[str, bytes]:
    """Content type and body of a multipart form with a file for each picture."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'.encode()
    parts = [part for picture in pictures for part in (head, picture, b"\r\n")]
    return f"multipart/form-data; boundary={boundary}", b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _outcome(item: dict[str, Any]) -> Outcome:
    if "error" in item:
        return _refused(item["error"])
    probabilities, warnings = tuple(item["probabilities"]), tuple(item["warnings"])
    return Prediction(item["digit"], item["confidence"], probabilities, warnings, tuple(item.get("set", ())))


def _refused(problem: dict[str, Any]) -> Refused:
    return Refused(problem["detail"], problem["status"])


class Parser(argparse.ArgumentParser):
    """A parser of arguments that first says what is wrong, names the nearest known word, and then shows the usage.

    `service.commands` uses it too. It stands here, because this file must work where somebody has copied it alone.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse, and refuse unknown words here: the parser of a command knows its flags, the one above does not."""
        words = sys.argv[1:] if args is None else list(args)
        if self._subparsers is None:  # first, since a misspelled flag may be one that is required
            self._refuse([word for word in words if word.startswith("--") and not self._may_be_flag(word)])
        options, unknown = super().parse_known_args(words, namespace)
        self._refuse(unknown)
        return options, unknown

    def _may_be_flag(self, word: str) -> bool:
        return any(flag.startswith(word.partition("=")[0]) for flag in ("--", *self._option_string_actions))

    def _refuse(self, unknown: list[str]) -> None:
        for word in unknown:
            self.error(f"unknown argument {word[:80]}{_did_you_mean(word, self._option_string_actions)}")

    def error(self, message: str) -> NoReturn:
        """End the process with code 2."""
        if found := re.search(r"invalid choice: '(.*)' \((choose from .*)\)", message):
            message += _did_you_mean(found[1], re.findall(r"[\w-]+", found[2]))
        self.exit(2, f"{self.prog}: error: {message}\n{self.format_usage()}")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    names = {each.lstrip("-"): each for each in known}  # two dashes would make all flags alike
    nearest = difflib.get_close_matches(word.partition("=")[0].lstrip("-"), names, 1)
    return f"; did you mean {names[nearest[0]]}?" if nearest else ""


def main(arguments: list[str] | None = None) -> int:
    """Prints a table of the pictures and their digits; 0 all answered, 1 some not, 2 usage, 141 nobody reads it."""
    program = "mnist-mlp" if Path(sys.argv[0]).name == "mnist-mlp" else "python -m service.client"
    parser = Parser(prog=program, description="Which digits do pictures show?")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file, a folder of them, or - for stdin")
    parser.add_argument("--url", default=DEFAULT_URL, help="where the service is (default: %(default)s)")
    parser.add_argument("--key", help="API key, where the service wants one")
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="0.9 to 0.9999: also the digits of which one is right in this share of pictures, where there are several",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each picture instead of the table")
    options = parser.parse_args(arguments)
    try:
        with Client(options.url, key=options.key, coverage=options.coverage) as client:
            code = _report(client, dict(_find(options.pictures)), as_json=options.json)
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # of stdout: those of the connection are a `ClientError`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would complain at its end
        return 141
    except ValueError as error:
        parser.error(str(error))
    except ClientError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _find(arguments: list[str]) -> Iterator[tuple[str, bytes | Path]]:
    """A name and a picture for each file; a folder without pictures stands for itself, and fails when it is read."""
    for argument in arguments:
        if argument == "-":
            yield "-", sys.stdin.buffer.read()
            continue
        inside = [file for file in Path(argument).rglob("*") if file.suffix.lower() in SUFFIXES]
        yield from ((str(file), file) for file in sorted(inside) or [Path(argument)])


def _report(client: Client, pictures: dict[str, bytes | Path], *, as_json: bool) -> int:
    width = max(map(len, [*pictures, "file"]))
    if not as_json:
        print(f"{'file':{width}}  digit  confidence  warnings")
    failed = 0
    for done, (name, outcome) in enumerate(zip(pictures, client.predict_many(pictures.values()), strict=True), 1):
        failed += isinstance(outcome, Refused)
        print(_json_line(name, outcome) if as_json else _row(f"{name:{width}}", outcome))
        _progress(done, len(pictures))
    return int(failed > 0)


def _row(name: str, outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return f"{name}  {'-':>5}  {'-':>10}  error: {outcome}"
    digit = "none" if outcome.digit is None else outcome.digit
    several = [f"one of {', '.join(map(str, outcome.set))}"] if len(outcome.set) > 1 else []
    return f"{name}  {digit:>5}  {outcome.confidence:>10.1%}  {' '.join([*outcome.warnings, *several])}".rstrip()


def _json_line(name: str, outcome: Outcome) -> str:
    if isinstance(outcome, Refused):
        return json.dumps({"file": name, "error": {"status": outcome.status, "detail": str(outcome)}})
    facts = asdict(outcome)
    return json.dumps({"file": name, **{key: value for key, value in facts.items() if key != "set" or value}})


def _progress(done: int, total: int) -> None:
    """A line that counts, where someone watches and the rows go elsewhere."""
    if sys.stderr.isatty() and not sys.stdout.isatty():
        print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
