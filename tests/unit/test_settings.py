"""Settings come from flags, environment, `.env` and defaults, in this order; a bad one is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.commands import check
from service.errors import SettingsError
from service.settings import Settings, load, unknown_variables
from tests.support.service import ROOT


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of this machine reaches the tests."""
    for name in [name for name in os.environ if name.startswith("MNIST_") or name == "PORT"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_environment_over_env_file_over_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each source overrides the ones below it."""
    assert load([]).port == 8000
    (tmp_path / ".env").write_text("MNIST_PORT=8001\nMNIST_MAX_IMAGES=8\n")
    assert load([]).port == 8001
    monkeypatch.setenv("MNIST_PORT", "8002")
    assert load([]).port == 8002
    assert load(["--port", "8003", "--max-wait-seconds", "5"]).port == 8003
    assert load([]).max_images == 8


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """One line for the operator, and no stack."""
    (tmp_path / ".env").write_bytes(b"MNIST_PORT=8\xff")
    with pytest.raises(SettingsError, match=r"^\.env: expected a readable file, found bytes that are no text$"):
        load([])


def test_an_env_file_that_never_ends_is_not_read(tmp_path: Path) -> None:
    """Reading a FIFO would wait until somebody writes into it."""
    os.mkfifo(tmp_path / ".env")
    with pytest.raises(SettingsError, match=r"^\.env: expected a readable file, found a FIFO$"):
        load([])


def test_plain_port_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """PORT, as platforms set it, is the default port; MNIST_PORT wins."""
    monkeypatch.setenv("PORT", "9000")
    assert load([]).port == 9000
    monkeypatch.setenv("MNIST_PORT", "9001")
    assert load([]).port == 9001


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MNIST_PORT", "eighty", "'eighty'"),
        ("MNIST_PORT", "70000", "'70000'"),
        ("MNIST_FORMATS", "png,psd", "'psd' is not one of png, jpeg, webp, gif, bmp, tiff, avif, heic"),
        ("MNIST_FORMATS", "", "'' is not one of png"),
        ("PORT", "x", "'x'"),
        ("MNIST_WORKERS", "0", "'0'"),
        ("MNIST_MODEL_VERSION", "newest", "'newest'"),
        ("MNIST_ACCESS_LOG", "2", "'2'"),
        ("MNIST_LOG_LEVEL", "loud", "'loud'"),
        ("MNIST_TRUSTED_PROXIES", "10.0.0.1/8", "'10.0.0.1/8'"),
        ("MNIST_TRUSTED_PROXIES", "127.0.0.1,nginx", "'127.0.0.1,nginx'"),
        ("MNIST_ALLOWED_HOSTS", "a.example:80", "'a.example:80'"),
        ("MNIST_CORS_ORIGINS", "app.example", "'app.example' is not an origin such as https://app.example"),
        ("MNIST_CORS_ORIGINS", "https://app.example/", "'https://app.example/' is not an origin"),
        ("MNIST_CORS_ORIGINS", "https://a.example,,", "'' is not an origin"),
        ("MNIST_CORS_ORIGINS", "https://*.example", "'https://*.example' is not an origin"),
        ("MNIST_CORS_ORIGINS", "null", "'null' is not an origin"),
        ("MNIST_CORS_ORIGINS", "*,https://a.example", "stands alone"),
        ("MNIST_ROOT_PATH", "digits", "'digits'"),
        ("MNIST_ROOT_PATH", "/a/../b", "'/a/../b'"),
        ("MNIST_ROOT_PATH", "//a", "expected a path such as /digits"),
        ("MNIST_ROOT_PATH", "https://a.example/digits", "expected a path such as /digits"),
        ("MNIST_ROOT_PATH", "/" + "a" * 100, "at most 100"),
        ("MNIST_ALLOWED_HOSTS", "a.example,,b.example", "'a.example,,b.example'"),
    ],
)
def test_a_bad_value_is_told_with_its_key(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """A value that cannot be used is refused by the name of its setting and the value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refusal:
        load([])
    assert f"{name}: " in str(refusal.value)
    assert said in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MNIST_MAX_WAIT_SECOND", "MNIST_MAX_WAIT_SECONDS"),
        ("MNIST_PROT", "MNIST_PORT"),
        ("mnist_port1", "MNIST_PORT"),
        ("MNIST_DATADIR", "MNIST_DATA_DIR"),
        ("MNIST_GRPC_PORTS", "MNIST_GRPC_PORT"),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelled_variable_is_told_with_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str, place: str
) -> None:
    """Up to two letters away, in the environment and in `.env`; a value that is right does not help."""
    if place == "environment":
        monkeypatch.setenv(name, "1")
    else:
        (tmp_path / ".env").write_text(f"{name}=1\n")
    with pytest.raises(SettingsError) as refusal:
        load([])
    assert str(refusal.value) == f"{name.upper()}: there is no such setting; did you mean {meant}?"


def test_other_variables_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that nobody knows are listed; training's, Kubernetes' and other programs' are not."""
    defaults = load([])
    (tmp_path / ".env").write_text("MNIST_COLOUR=red\nHOSTS=1\n")
    for name, value in {"MNIST_DATA_DIR": "/data", "MNIST_SHAPE": "3", "MNST_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert load([]) == defaults
    assert unknown_variables() == ["MNIST_COLOUR", "MNIST_SHAPE"]


@pytest.mark.parametrize("name", ["MNIST_PORT", "MNIST_METRICS_PORT", "MNIST_GRPC_PORT"])
def test_a_port_of_kubernetes_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """A Service called mnist sets MNIST_PORT, one called mnist-metrics MNIST_METRICS_PORT; a person's word counts."""
    defaults = load([])
    monkeypatch.setenv(name, "tcp://10.0.0.1:9000")
    assert load([]) == defaults
    (tmp_path / ".env").write_text(f"{name}=9001\n")
    assert getattr(load([]), name.removeprefix("MNIST_").lower()) == 9001
    (tmp_path / ".env").write_text(f"{name}=tcp://10.0.0.1:9000\n")
    with pytest.raises(SettingsError, match=f"{name}: "):
        load([])


def test_origins_and_paths_are_as_browsers_and_proxies_have_them() -> None:
    """Origins in small letters without the default port; a path without the slash at its end."""
    origins = "HTTPS://App.example:443, http://localhost:3000 ,http://[::1]:80,chrome-extension://abc,https://a:4430"
    assert load(["--cors-origins", origins]).cors_origins == (
        "https://app.example,http://localhost:3000,http://[::1],chrome-extension://abc,https://a:4430"
    )
    assert load(["--cors-origins", " * "]).cors_origins == "*"
    for text, path in (("/digits", "/digits"), ("/a/b-c_d~e.f/", "/a/b-c_d~e.f"), ("/", ""), ("", "")):
        assert load(["--root-path", text]).root_path == path


SOURCES = [
    "s3://bucket",
    "s3://bucket/team/mnist-mlp",
    "gs://bucket/mnist-mlp",
    "hf://team/mnist-mlp",
    "hf://team/mnist-mlp@refs%2Fpr%2F1/models",
    "oci://registry.example:5000/team/mnist-mlp",
    "oci://registry:443/mnist-mlp",
    "https://models.example/mnist-mlp",
    "http://127.0.0.1:9000/models",
    "http://[::1]:9000",
    "http://localhost/models",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_has_a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str) -> None:
    """It is below the user's cache folder, unless a setting names the model's folder."""
    monkeypatch.setenv("MNIST_MODEL_SOURCE", f"{source}/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = load([])
    assert settings.model_source == source
    assert settings.model_dir.parent == tmp_path / "mnist-mlp"
    assert settings == load(["--model-source", source])
    assert settings.model_dir not in {load(["--model-source", other]).model_dir for other in SOURCES if other != source}
    assert load(["--model-dir", "here"]).model_dir == Path("here")


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("ftp://host/models", "expected s3://BUCKET/FOLDER"),
        ("file:///models", "expected s3://BUCKET/FOLDER"),
        ("models/mnist-mlp", "expected s3://BUCKET/FOLDER"),
        ("s3://", "expected s3://BUCKET/FOLDER"),
        ("hf://mnist-mlp", "hf://NAMESPACE/NAME"),
        ("oci://registry.example/mnist-mlp:50", "oci://REGISTRY/NAME"),
        ("oci://registry/mnist-mlp", "expected a registry with a dot or a port, such as registry:443"),
        ("oci://localhost/mnist-mlp", "expected a registry with a dot or a port, such as localhost:443"),
        ("https://host/../models", "https://HOST/FOLDER"),
        ("https://host/mo dels", "https://HOST/FOLDER"),
        ("https://host/models#50", "https://HOST/FOLDER"),
        ("http://host/models", "plain http:// is allowed only for this machine"),
        ("http://10.0.0.1/models", "plain http:// is allowed only for this machine"),
        (
            "https://name:secret@host/models",
            "without a user's name and without a query (found 'https://…@host/models')",
        ),
        ("https://host/models?sig=secret", "without a user's name and without a query (found 'https://host/models?…')"),
        ("s3://name:secret@bucket/models", "without a user's name and without a query (found 's3://…@bucket/models')"),
    ],
)
def test_a_bad_source_is_named_without_what_is_secret(source: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=r"^MNIST_MODEL_SOURCE: ") as found:
        load(["--model-source", source])
    assert problem in str(found.value)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize("option", ["--model-source", "--root-path", "--cors-origins"])
def test_an_error_of_a_validator_is_named_without_the_words_of_pydantic(option: str) -> None:
    with pytest.raises(SettingsError) as found:
        load([option, "?"])
    name = "MNIST_" + option[2:].replace("-", "_").upper()
    assert str(found.value).startswith((f"{name}: expected ", f"{name}: '?' is "))


def test_a_source_without_its_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A web server needs none."""
    monkeypatch.setattr(check, "LIBRARIES", {"s3": "no_such_library"})
    with pytest.raises(SettingsError) as found:
        check.check_settings(load(["--model-source", "s3://bucket"]))
    assert str(found.value) == (
        "MNIST_MODEL_SOURCE: s3:// needs no_such_library, which is not installed; pip install '.[s3]'"
    )
    check.check_settings(load(["--model-source", "https://models.example"]))


def test_a_bad_setting_ends_the_start_with_exit_code_2() -> None:
    """The process says one line and ends with 2."""
    ended = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=os.environ | {"MNIST_TIMEOUT_SECONDS": "-1"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("service: MNIST_TIMEOUT_SECONDS: ")
    assert ended.stderr.count("\n") == 1


def test_every_setting_is_described() -> None:
    """`--help` has a sentence for each setting."""
    assert all(field.description for field in Settings.model_fields.values())
