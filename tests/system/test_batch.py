"""Batches without a server, as `python -m service batch` in processes of its own: rows, resumption, signals, limits."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.batch.block import SCHEMA
from tests.support import batch as support
from tests.support.batch import batch, by_name, parts, rows, starting, write
from tests.support.pictures import SEVEN, drawn, png
from tests.support.processes import children, command, processes_of_session
from tests.support.service import PATIENCE, ROOT, publish, until
from tests.support.signing import make_keys, sign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx

    from tests.support.pictures import Digits

PREDICTED = ("digit", "confidence", "probabilities", "warnings")


@pytest.fixture(scope="module")
def pictures(digits: Digits) -> Mapping[str, bytes]:
    return support.pictures(digits)


@pytest.fixture(scope="module")
def folder(pictures: Mapping[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("batch") / "in", pictures)


@pytest.fixture(scope="module")
def done(folder: Path) -> Path:
    """The output of a batch of all pictures, with other files beside them."""
    (folder / "Thumbs.db").write_bytes(b"x")
    out = folder.parent / "out"
    ended = batch(folder, "--out", out, "--merge", folder.parent / "all.parquet", "--part-rows", 10, workers=2)
    assert ended.returncode == 0, ended.stderr
    assert "batch: files that are no picture by their names, passed over: 1\n" in ended.stdout
    return out


def test_rows_are_the_answers_of_the_service(
    done: Path, folder: Path, pictures: Mapping[str, bytes], client: httpx.Client
) -> None:
    """For each picture the row has what POST /predict answers: a prediction, or the same refusal, also for bombs."""
    found = by_name(done, folder)
    assert list(found) == sorted(pictures, key=lambda name: name.split("/"))
    refused = 0
    for name, data in pictures.items():
        response, row = client.post("/predict", content=data, headers={"Content-Type": "image/png"}), found[name]
        if response.is_error:
            problem = response.json()
            assert (row["error"], row["reason"]) == (problem["detail"], problem["reason"]), name
            assert all(row[column] is None for column in (*PREDICTED, "ink_ratio", "polarity"))
            refused += 1
            continue
        answer = response.json()
        assert row["model"] == f"{answer['model']['name']}/{answer['model']['version']}"
        (prediction,) = answer["predictions"]
        assert (row["digit"], row["warnings"]) == (prediction["digit"], prediction["warnings"]), name
        np.testing.assert_allclose(row["probabilities"], prediction["probabilities"], atol=1e-6)
        assert row["confidence"] == max(row["probabilities"])
        assert row["error"] is None
        assert row["reason"] is None
    assert refused > 15
    assert [row["digit"] for row in found.values() if row["error"] is None].count(None) == 1


def test_parts_say_what_made_them_and_the_merged_file_has_all_rows(done: Path, folder: Path) -> None:
    """The columns are those of the documentation, and the metadata has model, version, checksum and settings."""
    merged = pq.ParquetFile(folder.parent / "all.parquet")
    assert merged.read().to_pylist() == rows(done)
    assert len(parts(done)) > 1
    for schema in (merged.schema_arrow, *(pq.read_schema(part) for part in parts(done))):
        assert schema.equals(SCHEMA)
        assert set(schema.metadata) == {b"service_version", b"model", b"model_version", b"model_sha256", b"settings"}
    assert sorted(path.name for path in done.iterdir()) == ["_report.html", *(part.name for part in parts(done))]
    assert pq.read_table(done).to_pylist() == rows(done)  # the folder as a whole


def test_a_batch_that_is_done_goes_on_with_what_is_new(done: Path, folder: Path) -> None:
    """The same command reads nothing again; a picture behind all others is read, and one before them is an error."""
    before = rows(done)
    again = batch(folder, "--out", done, "--part-rows", 10)
    assert again.returncode == 0
    assert "batch: this run: pictures 0," in again.stdout
    (folder / "zz.png").write_bytes(SEVEN)
    try:
        assert batch(folder, "--out", done).returncode == 0
        assert [row["name"] for row in rows(done)] == [*(row["name"] for row in before), f"{folder}/zz.png"]
        (folder / "aa.png").write_bytes(SEVEN)
        ended = batch(folder, "--out", done)
        assert ended.returncode == 2
        assert "the inputs have changed since" in ended.stderr
        assert ended.stderr.count("\n") == 1
    finally:
        parts(done)[-1].unlink()
        for name in ("aa.png", "zz.png"):
            (folder / name).unlink(missing_ok=True)
    assert rows(done) == before


def test_words_are_relative_to_where_the_batch_is_started(tmp_path: Path) -> None:
    """Also where that is not the folder of the program: inputs, output, and the model's folder."""
    write(tmp_path / "in", {"a.png": SEVEN})
    (tmp_path / "models").mkdir()
    publish(tmp_path / "models", 50)
    words = support.command("in", "--out", "out", "--merge", "all.parquet", "--model-dir", "models")
    subprocess.run(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    assert [(row["name"], row["digit"]) for row in rows(tmp_path / "out")] == [("in/a.png", 7)]
    assert pq.read_table(tmp_path / "all.parquet").num_rows == 1


def many(folder: Path, count: int) -> Path:
    """A folder of pictures of which each third needs a reader."""
    files = {f"{n % 7}/{n:04}.png": png(drawn(60 + n % 50)) if n % 3 == 0 else SEVEN for n in range(count)}
    return write(folder, files)


def test_a_batch_killed_at_any_moment_reads_each_picture_once(tmp_path: Path) -> None:
    """SIGKILL comes at random points; the same command goes on, and leaves neither processes nor unfinished files."""
    inputs, out = many(tmp_path / "in", 600), tmp_path / "out"
    expected = tmp_path / "expected"
    assert batch(inputs, "--out", expected, workers=2).returncode == 0
    rng = random.Random(1)  # noqa: S311 - moments, no secrets
    kills = 0
    words = (inputs, "--out", out, "--part-rows", 40)
    while True:
        had = len(parts(out))
        with starting(*words, workers=2) as process:
            until(lambda: process.poll() is not None or len(parts(out)) > had, "no part")  # noqa: B023 - called here
            time.sleep(rng.random() / 20)
            process.kill()
            ended = process.wait(PATIENCE)
            until(lambda: not processes_of_session(process.pid), "a process outlives its parent")
        if ended == 0:
            break
        kills += 1
        assert ended == -signal.SIGKILL
    assert kills > 1
    assert batch(*words).returncode == 0
    assert rows(out) == rows(expected)
    assert [row["name"] for row in rows(out)] == sorted(f"{inputs}/{n % 7}/{n:04}.png" for n in range(600))
    assert not list(out.glob("*.unfinished"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_batch_and_keep_what_is_done(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C goes to all processes. The exit code is the shell's, the rows are a part, and the command goes on."""
    inputs, out = many(tmp_path / "in", 900), tmp_path / "out"
    with starting(inputs, "--out", out, "--part-rows", 128, workers=1) as process:
        until(lambda: parts(out), "no part")
        os.killpg(process.pid, number)
        said, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, errors
    assert f"batch: stopped; {out} has the first {len(rows(out)):,} pictures, and the same command goes on" in said
    assert "Traceback" not in errors
    assert 0 < len(rows(out)) < 900
    assert batch(inputs, "--out", out, "--part-rows", 128).returncode == 0
    assert [row["name"] for row in rows(out)] == sorted(f"{inputs}/{n % 7}/{n:04}.png" for n in range(900))


@pytest.mark.parametrize("delay", [0.2, 0.9, 1.8])
def test_a_signal_during_the_start(tmp_path: Path, delay: float) -> None:
    """It ends the batch without a word of Python's, and never with the exit code of a batch that is done."""
    inputs = many(tmp_path / "in", 2000)
    with starting(inputs, "--out", tmp_path / "out") as process:
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in {128 + signal.SIGTERM, -signal.SIGTERM}  # the latter before Python runs our code
    assert "Traceback" not in errors


def test_a_batch_outlives_its_workers_and_readers(tmp_path: Path) -> None:
    """Workers, readers and the processes that fork these are killed one after the other: no row is lost or twice."""
    inputs, out = many(tmp_path / "in", 900), tmp_path / "out"
    victims = (b"service.batch.worker", b"service.reader", b"service.batch.worker")
    with starting(inputs, "--out", out, "--part-rows", 100, workers=2) as process:
        for number, name in enumerate(victims, start=1):
            until(lambda: len(parts(out)) >= number or process.poll() is not None, "no part")  # noqa: B023
            for pid in children(process.pid):
                if name in command(pid):
                    os.kill(pid, signal.SIGKILL)
                    break
        assert process.wait(PATIENCE) == 0, process.stderr.read() if process.stderr else ""
    found = rows(out)
    assert [row["name"] for row in found] == sorted(f"{inputs}/{n % 7}/{n:04}.png" for n in range(900))
    assert not [row for row in found if row["error"]]


def test_a_hostile_input_that_kills_its_reader_ends_the_batch_with_one_line(tmp_path: Path) -> None:
    """The rows before it are kept, and the line names what was read last."""
    inputs, out = many(tmp_path / "in", 2000), tmp_path / "out"
    with starting(inputs, "--out", out, "--part-rows", 128, workers=1) as process:
        until(lambda: parts(out), "no part")
        for pid in children(process.pid):
            if b"service.batch.feeder" in command(pid):
                os.kill(pid, signal.SIGKILL)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "the process that reads the inputs has ended with SIGKILL" in errors.splitlines()[-1]
    kept = [row["name"] for row in rows(out)]
    assert kept == sorted(f"{inputs}/{n % 7}/{n:04}.png" for n in range(2000))[: len(kept)]


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"model_version": 2}, "made with model version 50, and this batch has 2"),
    ({"max_pixels": 1000}, '"max_pixels": 1000'),
    ({"formats": "png"}, '"formats": "png"'),
]


@pytest.mark.parametrize(("settings", "sentence"), CHANGES)
def test_another_model_or_setting_does_not_go_on(done: Path, folder: Path, settings: Any, sentence: str) -> None:
    """One line says what is different, and the parts stay as they are."""
    before = [part.read_bytes() for part in parts(done)]
    ended = batch(folder, "--out", done, **settings)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert "choose another folder for --out" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert [part.read_bytes() for part in parts(done)] == before


def test_settings_of_the_command_line(folder: Path, tmp_path: Path) -> None:
    """The flags are those of the service: a format that is not read, and fewer pixels and bytes, are error rows."""
    one = write(tmp_path / "in", {"a.png": png(drawn(100)), "b.gif": b"GIF89a", "c.png": SEVEN + bytes(5000)})
    flags = ("--formats", "png", "--max-pixels", "5000", "--max-body-bytes", "4000", "--workers", "1")
    assert batch(one, "--out", tmp_path / "out", *flags).returncode == 0
    reasons = [row["reason"] for row in rows(tmp_path / "out")]
    assert reasons == ["too_many_pixels", "not_a_picture", "too_large"]


def test_two_batches_do_not_write_to_one_folder(tmp_path: Path) -> None:
    """The second one ends with one line, and exit code 4."""
    inputs, out = many(tmp_path / "in", 2000), tmp_path / "out"
    with starting(inputs, "--out", out, "--part-rows", 128, workers=1) as process:
        until(lambda: parts(out), "no part")
        process.send_signal(signal.SIGSTOP)
        second = batch(inputs, "--out", out)
    assert second.returncode == 4
    assert second.stderr == f"batch: {out}: another batch is writing there\n"


@pytest.mark.parametrize("damage", [b"", b"PAR1 no Parquet"])
def test_damaged_and_missing_parts_are_not_passed_over(tmp_path: Path, damage: bytes) -> None:
    inputs, out = many(tmp_path / "in", 300), tmp_path / "out"
    assert batch(inputs, "--out", out, "--part-rows", 100).returncode == 0
    first = parts(out)[0]
    if damage:
        first.write_bytes(damage)
    else:
        first.unlink()
    ended = batch(inputs, "--out", out)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "expected a part of a batch" in ended.stderr if damage else "part-000000.parquet before it" in ended.stderr


def test_a_bad_model_is_that_of_a_start(tmp_path: Path) -> None:
    """A version that a start refuses is passed over for the next one, and none at all is exit code 3."""
    models = tmp_path / "models"
    models.mkdir()
    inputs = write(tmp_path / "in", {"a.png": SEVEN})
    settings = {"model_dir": models, "model_version": "latest"}
    assert batch(inputs, "--out", tmp_path / "none", **settings).returncode == 3
    publish(models, 2)
    publish(models, 50)
    (models / "50" / "model.onnx").write_bytes(b"damaged")
    assert batch(inputs, "--out", tmp_path / "out", **settings).returncode == 0
    assert [row["model"] for row in rows(tmp_path / "out")] == ["mnist-mlp/2"]


@pytest.mark.parametrize("flag", ["--out", "--merge"])
def test_an_output_within_an_input_is_refused(tmp_path: Path, flag: str) -> None:
    """The same command would read what it has written."""
    inputs = write(tmp_path / "in", {"a/a.png": SEVEN})
    (tmp_path / "link").symlink_to(inputs / "a")
    outputs = {"--out": tmp_path / "out"} | {flag: tmp_path / "link" / "new"}
    ended = batch(inputs, *(word for pair in outputs.items() for word in pair))
    sentence = f"batch: {flag}: expected a path outside of the input {inputs}, found {outputs[flag]}\n"
    assert (ended.returncode, ended.stderr) == (2, sentence)
    assert sorted(path.name for path in inputs.rglob("*")) == ["a", "a.png"]


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    """Inputs may have them, as old systems wrote them; outputs and columns may not, and one line says so."""
    inputs = write(tmp_path / os.fsdecode(b"caf\xe9"), {"a.png": SEVEN})
    ended = batch(inputs, "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    assert [(row["name"], row["digit"]) for row in rows(tmp_path / "out")] == [(f"{tmp_path}/caf\\udce9/a.png", 7)]
    for flag in ("--out", "--merge", "--column", "--name-column"):
        outputs = {"--out": tmp_path / "out"} | {flag: inputs.with_name(f"{inputs.name}-new")}
        ended = batch(inputs, *(word for pair in outputs.items() for word in pair))
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert ended.stderr.startswith(f"batch: {flag}: expected UTF-8, found other bytes in ")


def test_a_signed_version_is_used_and_an_unsigned_one_is_not(tmp_path: Path) -> None:
    """MNIST_MODEL_PUBLIC_KEY says for batches what it says for the service."""
    keys = make_keys(tmp_path)
    models = tmp_path / "models"
    models.mkdir()
    for number in (2, 50):
        publish(models, number)
    sign(models / "2", keys)
    inputs = write(tmp_path / "in", {"a.png": SEVEN})
    settings = {"model_dir": models, "model_version": "latest", "model_public_key": keys.public}
    ended = batch(inputs, "--out", tmp_path / "out", **settings)
    assert ended.returncode == 0, ended.stderr
    assert [row["model"] for row in rows(tmp_path / "out")] == ["mnist-mlp/2"]
    ended = batch(inputs, "--out", tmp_path / "none", **settings | {"model_version": 50})
    assert (ended.returncode, ended.stderr.count("\n")) == (3, 1)
    assert "expected a signature of version 50, as MNIST_MODEL_PUBLIC_KEY demands, found none" in ended.stderr
