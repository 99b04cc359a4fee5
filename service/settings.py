"""The settings of the service, read once, when a process starts.

In: environment variables `MNIST_*` (plain `PORT` too), a `.env` file, command-line flags. Out: one frozen `Settings`. A
bad value is a `SettingsError` that names its key and the value, and so is a variable that is almost one of these.
"""

from __future__ import annotations

import hashlib
import os
import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliSettingsSource,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from . import variables
from .errors import SettingsError
from .quoting import without_secrets

if TYPE_CHECKING:
    import argparse

Port = Annotated[int, Field(ge=0, le=65535)]
Version = Annotated[str, Field(pattern=r"^(latest|[1-9]\d{0,8})$")]
PREFIX = "MNIST_"
OF_TRAINING = (
    "MNIST_DATA_DIR",
    "MNIST_SIGNING_PASSWORD",
)  # variables of the training job, which a shared .env file may hold
HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
FORMATS = ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic")
ROOT_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")  # no segment begins with a dot, as .. does
MAX_ROOT_PATH = 100  # characters
# No user's name, no query, and no segment that begins with a dot, as .. does.
_HOST = r"(?P<host>[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?"
_PATH = r"(?:/[A-Za-z0-9_~%+-][A-Za-z0-9._~%+-]*)"
SOURCES = {  # by scheme: what follows it
    "s3": re.compile(rf"(?P<host>[A-Za-z0-9_-][A-Za-z0-9._-]*){_PATH}*"),
    "gs": re.compile(rf"(?P<host>[A-Za-z0-9_-][A-Za-z0-9._-]*){_PATH}*"),
    "hf": re.compile(rf"(?P<host>[A-Za-z0-9_-][A-Za-z0-9._-]*){_PATH}(?:@[A-Za-z0-9_-][A-Za-z0-9._%-]*)?{_PATH}*"),
    "oci": re.compile(rf"{_HOST}(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"),
    "https": re.compile(rf"{_HOST}{_PATH}*"),
    "http": re.compile(rf"{_HOST}{_PATH}*"),
}
SOURCE_FORMS = (
    "s3://BUCKET/FOLDER, gs://BUCKET/FOLDER, hf://NAMESPACE/NAME, oci://REGISTRY/NAME or https://HOST/FOLDER, "
    "without a user's name and without a query"
)
MAX_SOURCE = 500  # characters
CACHE = "mnist-mlp"  # below the user's cache folder


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Parse addresses and networks, separated by commas; raises `ValueError`."""
    return tuple(ip_network(part.strip()) for part in text.split(","))


def _networks(text: str) -> str:
    networks(text)
    return text


def _hosts(text: str) -> str:
    for host in text.split(","):
        if not HOST.fullmatch(host.strip()):
            raise ValueError(f"{host.strip()!r} is not a host without a port")
    return text


def origins(text: str) -> tuple[str, ...]:
    """Parse origins as browsers send them, separated by commas, or `*`; raises `ValueError`."""
    found = tuple(_origin(part.strip()) for part in text.split(","))
    if "*" in found and len(found) > 1:
        raise ValueError("* allows every origin, and stands alone")
    return found


def _origin(text: str) -> str:
    match = ORIGIN.fullmatch(text.lower())
    if match is None and text != "*":
        raise ValueError(
            f"{text!r} is not an origin such as https://app.example or http://localhost:3000, without a path"
        )
    # Browsers leave the default port out.
    return text if match is None else match[0].removesuffix(DEFAULT_PORTS.get(match["scheme"], ""))


def root_path(text: str) -> str:
    """Return a path without the slash at its end, empty for / alone; raises `ValueError`."""
    path = text.removesuffix("/")
    if path and (len(path) > MAX_ROOT_PATH or not ROOT_PATH.fullmatch(path)):
        raise ValueError(f"expected a path such as /digits, of at most {MAX_ROOT_PATH} letters, digits, and . _ ~ - /")
    return path


def model_source(text: str) -> str:
    """Return the address of a source of versions without the slash at its end; raises `ValueError`."""
    address = text.removesuffix("/")
    scheme, _, rest = address.partition("://")
    found = SOURCES[scheme].fullmatch(rest) if scheme in SOURCES and len(text) <= MAX_SOURCE else None
    if found is None:
        raise ValueError(f"expected {SOURCE_FORMS}")
    registry = rest.partition("/")[0]
    if scheme == "oci" and not re.search("[.:]", registry):  # oras would ask Docker Hub for a repository of this name
        raise ValueError(f"expected a registry with a dot or a port, such as {registry}:443")
    if scheme == "http" and not is_loopback(found["host"]):
        raise ValueError("expected https://: plain http:// is allowed only for this machine, such as 127.0.0.1")
    return address


def is_loopback(host: str) -> bool:
    """Return whether a host, without a port, is this machine."""
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _origins(text: str) -> str:
    return ",".join(origins(text))


def formats(text: str) -> tuple[str, ...]:
    """Parse names of pictures' formats, separated by commas; raises `ValueError`."""
    found = tuple(part.strip().lower() for part in text.split(","))
    for name in found:
        if name not in FORMATS:
            raise ValueError(f"{name!r} is not one of {', '.join(FORMATS)}")
    return found


def _formats(text: str) -> str:
    return ",".join(formats(text))


Networks = Annotated[str, AfterValidator(_networks)]
Hosts = Annotated[str, AfterValidator(_hosts)]
Origins = Annotated[str, AfterValidator(_origins)]
Formats = Annotated[str, AfterValidator(_formats)]
RootPath = Annotated[str, AfterValidator(root_path)]
ModelSource = Annotated[str, AfterValidator(model_source)]


class Settings(BaseSettings):
    """The service's settings; each is `MNIST_<NAME>` in the environment and `--<name>` on the command line."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        extra="ignore",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        cli_prog_name="python -m service",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic calls with all of them
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Pass over ports of Kubernetes in the environment: a Service called mnist sets MNIST_PORT=tcp://10.0.0.1:80."""
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = {
            name: value for name, value in env_settings.env_vars.items() if not variables.is_of_kubernetes(name, value)
        }
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: Port = Field(
        # Many platforms set PORT for a process; it is a default, so MNIST_PORT overrides it.
        default_factory=lambda: int(os.environ.get("PORT", "8000")),
        description="Port to listen on; default: plain PORT, or else 8000; 0 takes a free one.",
    )
    workers: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=256,
        description="Processes that share the port; default: the cores that this process may use.",
    )
    model_dir: Path = Field(Path("models/mnist-mlp"), description="Folder that holds the numbered versions of a model.")
    model_source: ModelSource | None = Field(
        None,
        description="Where versions are pulled from: s3://, gs://, hf://, oci:// or https://; MNIST_MODEL_DIR is then "
        "their cache, by default a folder below the user's cache folder; unset: nowhere.",
    )
    model_source_seconds: float = Field(
        60.0, ge=1, description="Time from one poll of MNIST_MODEL_SOURCE to the next, in seconds."
    )
    model_version: Version = Field("latest", description="Version to serve: a number, or latest.")
    pin_file: Path | None = Field(
        None,
        description="File with the version to serve, over MNIST_MODEL_VERSION; unset: PINNED in the model's folder.",
    )
    model_public_key: Path | None = Field(
        None,
        description="File of public keys (PEM): only versions that one of them has signed serve; needs the extra "
        "`signing`; read again when it changes; unset: no signature is needed.",
    )
    model_wait: bool = Field(
        False,
        description="true: start without a usable version, not ready, and wait for one; false: end with exit code 3.",
    )
    admin: bool = Field(
        False, description="true: without API keys, every client may load and unload the model; false: none may."
    )
    allowed_hosts: Hosts | None = Field(
        None, description="Hosts that requests may name, with commas, without ports; probes may name any; unset: any."
    )
    trusted_proxies: Networks | None = Field(
        None,
        description="Addresses and networks, with commas, whose X-Forwarded-For and X-Forwarded-Prefix count; "
        "unset: none.",
    )
    cors_origins: Origins | None = Field(
        None,
        description="Origins whose pages may ask and read the answers, with commas, such as https://app.example; "
        "* for every origin; unset: none.",
    )
    root_path: RootPath | None = Field(
        None,
        description="Path below which a proxy publishes the service, such as /digits; X-Forwarded-Prefix of a trusted "
        "proxy overrides it; unset: none.",
    )
    metrics_port: Port | None = Field(
        None, description="Moves /metrics to a port of its own; unset: on the service's port."
    )
    grpc_port: Port | None = Field(
        None, description="Port for gRPC, which needs the extra `grpc`; 0 takes a free one; unset: no gRPC."
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys; each request then needs one; read again when it changes; unset: no keys.",
    )
    tls_cert_file: Path | None = Field(
        None, description="Certificate chain (PEM), for HTTPS and gRPC over TLS; unset: no TLS, as behind a proxy."
    )
    tls_key_file: Path | None = Field(
        None, description="Private key of the certificate (PEM); unset: it is in the certificate's file."
    )
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest request body, in bytes.")
    max_pixels: int = Field(
        50_000_000, ge=784, description="Largest picture, in pixels, read from its header before decoding."
    )
    formats: Formats = Field(
        ",".join(FORMATS),
        description="Formats of pictures that are read, with commas; heic needs the extra `heic`.",
    )
    max_images: int = Field(64, ge=1, le=4096, description="Most pictures in one request.")
    max_wait_seconds: float = Field(
        1.0,
        gt=0,
        description="Longest predicted wait in one worker, in seconds; requests that would wait longer get 503.",
    )
    timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="Time to receive a request, to answer it, and to send the response, in seconds; "
        "a body or a response that moves at 16 KiB/s has more.",
    )
    keep_alive_seconds: float = Field(
        75.0, gt=0, description="Time that an idle connection stays open after a response, in seconds."
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        description="Most open connections in one worker; unset: 2,000, over TLS 666, "
        "and never more than the files that it may open.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="Time to go on answering after SIGTERM, while not ready, before the port closes, in seconds.",
    )
    shutdown_seconds: int = Field(
        25,
        ge=0,
        description="Time to end after SIGTERM, the drain included, in seconds; connections open by then are closed.",
    )
    stall_seconds: float = Field(
        8.0, ge=0, description="A process whose event loop is blocked for this time, in seconds, ends itself; 0: never."
    )
    fast_path: bool = Field(
        True,
        description="true: small requests are answered inside the HTTP protocol; false: the same responses, slower.",
    )
    access_log: float = Field(
        0.0, ge=0, le=1, description="Share of requests written to the access log (stderr): 0 none, 1 all."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level to log.")
    log_format: Literal["json", "text"] | None = Field(
        None,
        description="Format of all output: json, an object a line; text, for people; unset: the log is JSON, but "
        "text at a terminal, and what is for people, such as the addresses and why a start fails, is text.",
    )


def load(arguments: list[str] | None = None) -> Settings:
    """Read settings from flags, then environment, then `.env`, then defaults; raises `SettingsError`."""
    return _load(_cli_parse_args=arguments if arguments is not None else False)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting; `of_flags` takes what the parser finds."""
    parser.usage = "%(prog)s [-h] [--SETTING VALUE ...]"  # all of them would be twenty lines
    parser.set_defaults(settings_source=CliSettingsSource(Settings, root_parser=parser))
    for action in parser._actions:  # their descriptions say it
        action.help = re.sub(r" \(default(: None| factory: .*)\)$", "", action.help or "")


def of_flags(options: argparse.Namespace) -> Settings:
    """As `load`, with the flags that a parser has found; raises `SettingsError`."""
    return _load(_cli_settings_source=options.settings_source(parsed_args=options))


def add_model_flags(parser: argparse.ArgumentParser, *more: str) -> None:
    """Add the flags of the model, its pin file and its keys, and of `more` settings.

    `of_model_flags` takes what the parser finds.
    """
    text = "as for `python -m service`; default: what the environment says"
    for setting in ("model-dir", "pin-file", "model-public-key"):
        parser.add_argument(f"--{setting}", metavar="PATH", help=text)
    for setting in more:
        parser.add_argument(f"--{setting}", metavar="VALUE", help=text)


def of_model_flags(options: argparse.Namespace) -> Settings:
    """As `load`, with the flags of `add_model_flags`; raises `SettingsError`."""
    flags = {name: value for name in Settings.model_fields if (value := getattr(options, name, None)) is not None}
    return load([part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)])


def unknown_variables() -> list[str]:
    """Return the names of variables `MNIST_*`, in the environment and in `.env`, that are no setting.

    Raises `SettingsError` for one that is almost the name of a setting, and for a `.env` that cannot be read.
    """
    if Path(".env").is_fifo():  # reading it would wait for ever
        raise SettingsError(".env: expected a readable file, found a FIFO")
    try:
        found = {**DotEnvSettingsSource(Settings).env_vars, **os.environ}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are no text"
        raise SettingsError(f".env: expected a readable file, found {reason}") from None
    names = {name.upper() for name, value in found.items() if not variables.is_of_kubernetes(name, value)}
    known = {*OF_TRAINING, *(PREFIX + name.upper() for name in Settings.model_fields)}
    unknown = sorted(name for name in names - known if name.startswith(PREFIX))
    for name in unknown:
        if (nearest := variables.nearest(name, known)) is not None:
            raise SettingsError(f"{name}: there is no such setting; did you mean {nearest}?")
    return unknown


def _load(**sources: object) -> Settings:
    unknown_variables()
    try:
        settings = Settings(**sources)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(e)) for e in error.errors())) from None
    except ValueError as error:  # a PORT that is not a number fails in its default factory
        raise SettingsError(f"PORT: {error}") from None
    if settings.drain_seconds > settings.shutdown_seconds:
        raise SettingsError(
            f"MNIST_DRAIN_SECONDS: expected at most MNIST_SHUTDOWN_SECONDS, which is {settings.shutdown_seconds} "
            f"and includes the drain (found {settings.drain_seconds:g})"
        )
    if settings.model_source is not None and "model_dir" not in settings.model_fields_set:
        return settings.model_copy(update={"model_dir": _cache_folder(settings.model_source)})
    return settings


def _cache_folder(source: str) -> Path:
    """Return the folder in which a source's versions are kept where no setting names one; raises `SettingsError`."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        raise SettingsError("MNIST_MODEL_DIR: expected the folder of pulled versions: this user has no home") from None
    return folder.absolute() / CACHE / hashlib.sha256(source.encode()).hexdigest()[:16]


def _sentence(error: dict[str, object]) -> str:
    location = error["loc"]
    assert isinstance(location, tuple)
    key = PREFIX + str(location[0]).upper()
    reason = str(error["msg"]).removeprefix("Value error, ")  # pydantic's word for a validator of ours
    return f"{key}: {reason} (found {without_secrets(repr(error['input']))})"
