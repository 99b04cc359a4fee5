"""A model version is verified before it serves; what is wrong with it is said in one line, with exit code 3."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.helper
import onnxruntime
import pytest

from service.errors import ModelError
from service.model import artefact, operators
from service.model.classifier import Classifier
from tests.support.hostile_bodies import with_changed_bytes
from tests.support.hostile_models import sparse
from tests.support.service import MODELS, ROOT, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A copy of the committed version, to be spoilt."""
    return shutil.copytree(MODELS / VERSION, tmp_path / VERSION)


def edit_card(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_model(version: Path, model: bytes) -> None:
    """Another model under a card that vouches for it: only looking into the file can tell."""
    (version / "model.onnx").write_bytes(model)
    edit_card(version, sha256=hashlib.sha256(model).hexdigest())


def edit_graph(version: Path, edit: Callable[[onnx.ModelProto], None]) -> None:
    model = onnx.load(version / "model.onnx")
    edit(model)
    replace_model(version, model.SerializeToString())


def foreign_op(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, onnx.helper.make_node("NonZero", ["images"], ["unused"]))


def foreign_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def elsewhere(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Its numbers are in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def external_data(model: onnx.ModelProto) -> None:
    elsewhere(model.graph.initializer[0])


def with_attribute(value: object) -> Callable[[onnx.ModelProto], None]:
    def edit(model: onnx.ModelProto) -> None:
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("something", value))

    return edit


def with_sparse(**spoilt: onnx.TensorProto) -> Callable[[onnx.ModelProto], None]:
    """A sparse tensor, whose values or indices are spoilt."""

    def edit(model: onnx.ModelProto) -> None:
        values, indices = onnx.numpy_helper.from_array(np.ones(1)), onnx.numpy_helper.from_array(np.array([3]))
        tensors = {"values": values, "indices": indices} | spoilt
        model.graph.sparse_initializer.append(onnx.helper.make_sparse_tensor(**tensors, dims=[9]))

    return edit


def with_raw_node(field: bytes) -> Callable[[onnx.ModelProto], None]:
    """A field that onnx.proto does not have, or writes in another way, in the first node."""

    def edit(model: onnx.ModelProto) -> None:
        node = model.graph.node[0]
        node.ParseFromString(node.SerializeToString() + field)

    return edit


def unknown_in_graph(model: onnx.ModelProto) -> None:
    model.graph.ParseFromString(model.graph.SerializeToString() + b"\xa2\x06\x01x")


def located_elsewhere(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL


def long_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "x" * 2**20


def training_info(model: onnx.ModelProto) -> None:
    model.training_info.add().algorithm.name = "step"


def local_function(model: onnx.ModelProto) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    model.functions.append(onnx.helper.make_function("f", "F", ["x"], ["y"], [node], model.opset_import))


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "pixels"
    for node in model.graph.node:
        node.input[:] = ["pixels" if name == "images" else name for name in node.input]


def other_weights(model: onnx.ModelProto) -> None:
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights = np.frombuffer(largest.raw_data, np.float32)[::-1]
    largest.raw_data = weights.tobytes()


def replace_golden(version: Path, **arrays: Any) -> None:
    """Another golden batch under a card that vouches for it."""
    golden = dict(np.load(version / "golden.npz")) | arrays
    np.savez(version / "golden.npz", allow_pickle=True, **golden)
    edit_card(version, golden_sha256=hashlib.sha256((version / "golden.npz").read_bytes()).hexdigest())


def unknown_field_before(version: Path, field: bytes) -> None:
    """A foreign operator after a field that nobody knows."""
    edit_graph(version, foreign_domain)
    replace_model(version, field + (version / "model.onnx").read_bytes())


def folder_as_model(version: Path) -> None:
    (version / "model.onnx").unlink()
    (version / "model.onnx").mkdir()


def pipe_as_model(version: Path) -> None:
    (version / "model.onnx").unlink()
    os.mkfifo(version / "model.onnx")


def link_as_model(version: Path) -> None:
    (version / "model.onnx").rename(version / "elsewhere.onnx")
    (version / "model.onnx").symlink_to("elsewhere.onnx")


def link_as_folder(version: Path) -> None:
    version.rename(version.with_name("elsewhere"))
    version.symlink_to("elsewhere")


def pipe_as_folder(version: Path) -> None:
    shutil.rmtree(version)
    os.mkfifo(version)


def truncate(version: Path, name: str) -> None:
    path = version / name
    path.write_bytes(path.read_bytes()[:-100])


def flip(version: Path) -> None:
    path = version / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


OUTSIDE = elsewhere(onnx.numpy_helper.from_array(np.ones(1)))
INNER = onnx.helper.make_graph([], "inner", [], [])
HIDDEN = {
    "an attribute": (with_attribute(OUTSIDE), "external data"),
    "a list of tensors": (with_attribute([OUTSIDE]), "external data"),
    "sparse values": (with_sparse(values=OUTSIDE), "external data"),
    "sparse indices": (with_sparse(indices=OUTSIDE), "external data"),
    "a constant's sparse values": (with_attribute(sparse(OUTSIDE)), "external data"),
    "a list of sparse tensors": (with_attribute([sparse(OUTSIDE)]), "external data"),
    "a tensor's location": (located_elsewhere, "external data"),
    "an unknown field of a node": (with_raw_node(b"\xa2\x06\x01x"), "field 100 of NodeProto"),
    "an unknown field of the graph": (unknown_in_graph, "field 100 of GraphProto"),
    "a name of a megabyte": (long_operator, "x" * 80),
    "a subgraph": (with_attribute(INNER), "subgraph"),
    "a list of subgraphs": (with_attribute([INNER]), "subgraph"),
    "a local function": (local_function, "local function"),
    "training info": (training_info, "training info"),
    "the initializers": (external_data, "external data"),
    "a foreign domain": (foreign_domain, "operator domain"),
    "a foreign operator": (foreign_op, "NonZero"),
}
SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "model.json: expected a readable file, found No such file"),
    "no model": (lambda v: (v / "model.onnx").unlink(), "model.onnx: expected a readable file"),
    "no card": (lambda v: (v / "model.json").unlink(), "model.json: expected a readable file"),
    "no golden batch": (lambda v: (v / "golden.npz").unlink(), "golden.npz: expected a readable file"),
    "a folder as model": (folder_as_model, "Is a directory"),
    "a pipe as model": (pipe_as_model, "model.onnx: expected a regular file"),
    "a link as model": (link_as_model, "model.onnx: expected a readable file, found a symbolic link"),
    "truncated model": (lambda v: truncate(v, "model.onnx"), "truncated or altered"),
    "truncated golden batch": (lambda v: truncate(v, "golden.npz"), "truncated or altered"),
    "truncated card": (lambda v: truncate(v, "model.json"), "expected JSON"),
    "one bit flipped": (flip, "truncated or altered"),
    "a list as card": (lambda v: (v / "model.json").write_text("[]"), "expected schema 'mnist-mlp/1', found 'list'"),
    "another schema": (lambda v: edit_card(v, schema=99), "expected schema 'mnist-mlp/1', found 99"),
    "another version": (lambda v: edit_card(v, version=7), f"expected version {VERSION} (its folder), found 7"),
    "no checksum": (lambda v: edit_card(v, sha256=None), "expected sha256 to be of type str, found None"),
    "text as model": (lambda v: replace_model(v, b"no model at all"), "expected an ONNX model"),
    "empty model": (lambda v: replace_model(v, b""), "expected a model that ONNX Runtime loads"),
    "another signature": (lambda v: edit_graph(v, other_input), "expected the signature"),
    "foreign domain after a field of 8 bytes": (
        lambda v: unknown_field_before(v, b"\xa1\x06" + b"\xff" * 8),
        "found 'operator domain'",
    ),
    "foreign domain after a field of 4 bytes": (
        lambda v: unknown_field_before(v, b"\xa5\x06" + b"\xff" * 4),
        "found 'operator domain'",
    ),
    "a number of eleven bytes": (
        lambda v: replace_model(v, b"\x80" * 10 + b"\0"),
        "expected an ONNX model, found a number of more than ten bytes",
    ),
    "a field's number whose upper bits protobuf drops": (
        lambda v: unknown_field_before(v, b"\xba\x80\x80\x80\x10\0"),
        "model.onnx: expected an ONNX model, found a field's number of more than 32 bits",
    ),
    "another model's name of a megabyte": (lambda v: edit_card(v, name="x" * 2**19), "expected a name of 1 to 80 pri"),
    "a name of two lines": (lambda v: edit_card(v, name="a\nb"), "expected a name of 1 to 80 printable characters"),
    "lists as a checksum": (lambda v: edit_card(v, sha256=[[]]), "expected sha256 to be of type str, found list"),
    "a link as the version's folder": (link_as_folder, f"{VERSION}: expected a folder, found a symbolic link"),
    "a pipe as the version's folder": (pipe_as_folder, f"{VERSION}: expected a folder, found something else"),
    "a pickle in the golden batch": (
        lambda v: replace_golden(v, images=np.array([print])),
        "golden.npz: expected arrays images and probabilities, found ValueError Object arrays cannot be loaded",
    ),
    "no golden digits": (
        lambda v: replace_golden(v, images=np.zeros((0, 1, 28, 28), np.uint8)),
        "golden.npz: expected images uint8[M,1,28,28], found uint8[0, 1, 28, 28]",
    ),
    "flat golden digits": (
        lambda v: replace_golden(v, images=np.zeros((2, 784), np.uint8)),
        "golden.npz: expected images uint8[M,1,28,28], found uint8[2, 784]",
    ),
    "golden digits of floats": (
        lambda v: replace_golden(v, images=np.zeros((1, 1, 28, 28), np.float32)),
        "golden.npz: expected images uint8[M,1,28,28], found float32[1, 1, 28, 28]",
    ),
    "nine golden probabilities": (
        lambda v: replace_golden(v, images=np.zeros((1, 1, 28, 28), np.uint8), probabilities=np.zeros((1, 9))),
        "golden.npz: expected probabilities [1,10], found [1, 9]",
    ),
    "other weights": (lambda v: edit_graph(v, other_weights), "expected the golden batch's probabilities"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_spoilt_version_is_refused_by_name(version: Path, case: str) -> None:
    """Whatever is wrong with a version, one ModelError names what was expected and what was found."""
    spoil, sentence = SPOILT[case]
    spoil(version)
    with pytest.raises(ModelError) as refusal:
        Classifier.load(version.parent, VERSION)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("place", HIDDEN)
def test_what_reaches_outside_of_an_mlp_is_found_wherever_it_hides(version: Path, place: str) -> None:
    """By the operator or the place, before the runtime sees any of it."""
    edit, found = HIDDEN[place]
    edit_graph(version, edit)
    with pytest.raises(ModelError) as refusal:
        artefact.read(version.parent, VERSION)
    assert str(refusal.value) == f"{version}/model.onnx: expected only operators of an MLP, found {found!r}"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_service_does_not_start_with_a_spoilt_version(version: Path, workers: int) -> None:
    """A truncated model ends the start with exit code 3 and one clear line, with one worker or several."""
    truncate(version, "model.onnx")
    flags = ["--port", "0", "--workers", str(workers), "--model-dir", str(version.parent)]
    ended = subprocess.run(
        [sys.executable, "-m", "service", *flags], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 3
    assert ended.stderr.count("\n") == 1
    assert f"{version}/model.onnx: expected sha256" in ended.stderr


def test_latest_is_the_highest_number(version: Path) -> None:
    """`latest` compares numbers, not texts, and looks past whatever else lies there."""
    models = version.parent
    for number in (9, 100):
        shutil.copytree(version, models / str(number))
        edit_card(models / str(number), version=number)
    (models / ".unfinished").mkdir()
    (models / "README.md").touch()
    assert artefact.read(models).version == "100"
    assert artefact.read(models, "9").version == "9"


def test_a_version_is_what_its_card_says(version: Path) -> None:
    """Its name, its number, the model's checksum, and all the rest of the card."""
    verified, card = artefact.read(version.parent), json.loads((version / "model.json").read_text())
    assert (verified.name, verified.version, verified.sha256) == ("mnist-mlp", VERSION, card["sha256"])
    assert verified.card == card
    assert verified.model == (version / "model.onnx").read_bytes()


def test_a_file_over_the_limit_is_not_read(version: Path) -> None:
    """The refusal says how large it is, and how large it may be."""
    os.truncate(version / "model.onnx", 2**25 + 1)
    with pytest.raises(ModelError) as refusal:
        artefact.read(version.parent, VERSION)
    expected = "expected at most 33,554,432 bytes, found 33,554,433"
    assert str(refusal.value) == f"{version}/model.onnx: {expected}"


def test_no_versions_at_all(tmp_path: Path) -> None:
    """A folder without versions, or none at all, is told as such."""
    with pytest.raises(ModelError, match="expected numbered version folders"):
        artefact.read(tmp_path)
    with pytest.raises(ModelError, match="expected a folder of model versions, found No such file"):
        artefact.read(tmp_path / "nowhere")


def test_what_was_hashed_is_what_answers(version: Path) -> None:
    """The model's file is read once: what takes its place between the checksum and the runtime changes nothing."""
    verified = artefact.read(version.parent)
    (version / "model.onnx").write_bytes(b"another model")
    answered = Classifier(verified).predict(verified.golden_images)
    assert np.abs(answered - verified.golden_probabilities).max() < 1e-3


def test_an_unreadable_version_is_told_so(version: Path) -> None:
    """A file that this user may not read is told as such."""
    (version / "model.onnx").chmod(0)
    user = os.geteuid()
    os.seteuid(user or 65534)  # root may read whatever there is
    try:
        with pytest.raises(ModelError, match="expected a readable file, found Permission denied"):
            artefact.read(version.parent, VERSION)
    finally:
        os.seteuid(user)


def loaded(folder: Path) -> Classifier | None:
    """What answers, or None where it is refused, which must be in one line."""
    try:
        return Classifier.load(folder.parent, VERSION)
    except ModelError as error:
        assert "\n" not in str(error)
        return None


@pytest.mark.parametrize("vouched_for", [False, True])
def test_a_model_that_breaks_off_anywhere_is_refused(version: Path, vouched_for: bool) -> None:
    """Cut off after each per cent of its bytes, also under a card that has the checksum of what is left."""
    whole = (version / "model.onnx").read_bytes()
    for percent in range(100):
        part = whole[: len(whole) * percent // 100]
        replace_model(version, part) if vouched_for else (version / "model.onnx").write_bytes(part)
        assert loaded(version) is None, percent


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_changed_byte_is_caught_by_the_checksum(version: Path, name: str) -> None:
    """Any byte of the model or of the golden batch, changed to any other (all of a thousand: `make hostile`)."""
    path = version / name
    for spoilt in with_changed_bytes(path.read_bytes(), count=30):
        path.write_bytes(spoilt)
        assert loaded(version) is None


@pytest.mark.parametrize(("name", "checksum"), [("model.onnx", "sha256"), ("golden.npz", "golden_sha256")])
def test_a_changed_byte_under_a_card_that_vouches_for_it(version: Path, name: str, checksum: str) -> None:
    """Without the checksum's help: refused in one line, or loaded and still true to the golden batch; never a crash."""
    path, golden = version / name, artefact.read(version.parent, VERSION)
    for spoilt in with_changed_bytes(path.read_bytes(), count=30):
        path.write_bytes(spoilt)
        edit_card(version, **{checksum: hashlib.sha256(spoilt).hexdigest()})
        classifier = loaded(version)
        if classifier is not None:
            answered = classifier.predict(golden.golden_images)
            assert np.abs(answered - golden.golden_probabilities).max() < 2e-3


def test_every_field_of_onnx_is_accounted_for() -> None:
    """Each field of a model, graph, node, attribute or tensor is walked, refused, or known to be harmless."""
    messages, seen = [operators.MODEL], set()
    while messages:
        message = messages.pop()
        seen.add(message.name)
        fields = getattr(onnx, message.name).DESCRIPTOR.fields_by_number
        assert set(message.fields) | message.harmless == set(fields), message.name
        messages += [inner for inner in message.fields.values() if isinstance(inner, operators.Message)]
    assert seen == {"ModelProto", "GraphProto", "NodeProto", "AttributeProto", "TensorProto", "SparseTensorProto"}


def test_no_tensor_hides_in_what_is_harmless() -> None:
    """What is passed over holds no tensor, graph or node at any depth."""
    walked = {"GraphProto", "NodeProto", "AttributeProto", "TensorProto", "SparseTensorProto", "FunctionProto"}

    def below(descriptor: Any, seen: set[str]) -> set[str]:
        for field in descriptor.fields:
            if field.message_type is not None and field.message_type.name not in seen:
                seen.add(field.message_type.name)
                below(field.message_type, seen)
        return seen

    for message in (operators.MODEL, *(m for m in operators.MODEL.fields.values() if isinstance(m, operators.Message))):
        for number in message.harmless:
            field = getattr(onnx, message.name).DESCRIPTOR.fields_by_number[number]
            if field.message_type is not None:
                assert not walked & ({field.message_type.name} | below(field.message_type, set())), field.name


def test_the_runtimes_own_format_is_refused(version: Path, tmp_path: Path) -> None:
    """In which it reads operators that nobody has looked at, also where the bytes look like ONNX too."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession((version / "model.onnx").read_bytes(), options)
    own = (tmp_path / "model.ort").read_bytes()
    assert onnxruntime.InferenceSession(own).get_inputs()[0].name == "images"
    with pytest.raises(ModelError, match="expected a model that ONNX Runtime loads"):
        Classifier(dataclasses.replace(artefact.read(version.parent), model=own))
