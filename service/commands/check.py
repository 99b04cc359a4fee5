"""`check`: read settings, certificate, API keys and model as a start does, and say in one line what is wrong.

In: settings. Out: one line: on stdout what would serve, or on stderr why a start would fail. It listens on no port.
Exit codes are those of a start: 0 it would serve, 2 a bad setting, 3 a model that must not serve, 4 what the system
refuses.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from importlib.util import find_spec
from typing import TYPE_CHECKING

from .. import settings as settings_module
from ..access import keys
from ..connection import certificate
from ..errors import ModelError, SettingsError
from ..model import signature
from ..observability import tracing
from ..process import start
from ..process.exit_codes import run_printing
from ..quoting import quoted
from ..versions.bundled import or_bundled
from ..versions.manager import VersionManager
from ..versions.shared_state import SharedState

if TYPE_CHECKING:
    import argparse

    from ..settings import Settings

HELP = "Read settings, keys and model as a start does, and say what is wrong."
log = logging.getLogger("service")
MIN_DESCRIPTORS = 64  # that a process may open
LIBRARIES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "oci": "oras"}  # by scheme, and so by extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each setting."""
    settings_module.add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Check all that a start reads; return the exit code."""
    return run_printing("check", lambda: _check(options))


def _check(options: argparse.Namespace) -> int:
    settings = or_bundled(settings_module.of_flags(options))
    check_settings(settings)
    shared_state = SharedState(shared=settings.model_source is not None)
    models = VersionManager(settings, shared_state)
    found = "the service would wait for a version"
    waits = contextlib.suppress(ModelError) if settings.model_wait else contextlib.nullcontext()
    with waits, start.first_pull(settings, shared_state):
        found = f"version {models.check(lambda: None)} would serve"
    refused = "".join(f"; version {number} is refused: {reason}" for number, reason in models.loader.refused.items())
    print(f"check: {found}{refused}")
    return 0


def check_settings(settings: Settings) -> None:
    """Check what settings name, and what the system allows; raises `SettingsError` or `OSError` with one line.

    Variables that are no setting are logged.
    """
    for name in settings_module.unknown_variables():
        log.warning("%s is not a setting; the service ignores it", quoted(name))
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors < MIN_DESCRIPTORS:
        raise OSError(f"a process may open {descriptors} files (RLIMIT_NOFILE); at least {MIN_DESCRIPTORS} are needed")
    try:
        certificate.context(settings)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"MNIST_TLS_CERT_FILE: {settings.tls_cert_file}: expected a certificate and its key, found {error}"
        ) from None
    if settings.api_keys_file is not None:
        keys.read(settings.api_keys_file)
    if settings.grpc_port is not None and not (find_spec("grpc") and find_spec("grpc_health")):
        raise SettingsError("MNIST_GRPC_PORT: gRPC is not installed; pip install '.[grpc]'")
    check_source(settings)
    signature.read_keys(settings)
    variable = tracing.asking(os.environ)
    if variable is not None and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        raise SettingsError(f"{variable}: OpenTelemetry is not installed; pip install '.[otel]'")


def check_source(settings: Settings) -> None:
    """Raise `SettingsError` where the library of the source of versions is not installed."""
    scheme = (settings.model_source or "").partition("://")[0]
    if scheme in LIBRARIES and not find_spec(LIBRARIES[scheme]):
        raise SettingsError(
            f"MNIST_MODEL_SOURCE: {scheme}:// needs {LIBRARIES[scheme]}, which is not installed; "
            f"pip install '.[{scheme}]'"
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # one of its parents
        return False
