"""`service.versions.loader.VersionLoader`: which version on the disk is to be loaded, and what is refused."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from service.errors import ModelError
from service.model import layout
from service.settings import Settings
from service.versions import choice
from service.versions.loader import VersionLoader
from service.versions.shared_state import CheckedFiles
from tests.support.graphs import constant, publish_edited
from tests.support.service import publish
from tests.support.signing import make_keys, sign
from tests.support.versions import mend, spoil

if TYPE_CHECKING:
    from pathlib import Path

    from service.versions.loader import Found
    from tests.support.graphs import Graph


@pytest.fixture
def settings(models: Path) -> Settings:
    """A folder with versions 1 and 2, and the highest is chosen."""
    publish(models, 2)
    return Settings.model_validate({"model_dir": models})


@pytest.fixture
def loader(settings: Settings) -> VersionLoader:
    return VersionLoader(settings, CheckedFiles())


def number(found: Found | None) -> int | None:
    return None if found is None else found.number


def refuse(loader: VersionLoader, found: Found | None) -> str:
    """Load a version that is spoilt; why it is refused."""
    assert found is not None
    with pytest.raises(ModelError) as refusal:
        loader.load(found)
    assert loader.refused[found.number] == str(refusal.value)
    return str(refusal.value)


def test_the_highest_is_to_be_loaded_until_it_serves(loader: VersionLoader, models: Path) -> None:
    """And again when its files change; one below it has no place beside it."""
    found = loader.version_to_load(None)
    assert found == (2, layout.stamp(models / "2"))
    assert loader.numbers == [2, 1]
    assert loader.version_to_load(None) == found  # it is not loaded yet
    current = loader.load(found)
    assert (loader.name, current.version) == ("mnist-mlp", "2")
    assert loader.version_to_load(current) is None
    os.utime(models / "2" / "model.onnx", ns=(1, 1))
    changed = loader.version_to_load(current)
    assert changed == (2, layout.stamp(models / "2"))
    assert changed != found


def test_a_held_one_is_to_be_loaded_only_where_it_is_named(loader: VersionLoader, settings: Settings) -> None:
    """`latest` passes over it, also where it serves; a pin and a canary name it, and a promotion ends it."""
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    assert current.version == "2"
    choice.hold(settings, 2)
    one = loader.version_to_load(current)
    assert number(one) == 1
    assert one is not None
    served = loader.load(one)
    assert loader.version_to_load(served) is None
    choice.write_canary(settings, 2, 30)
    assert number(loader.canary_to_load(served, None)[1]) == 2
    choice.pin(settings, "2")
    assert number(loader.version_to_load(served)) == 2
    choice.unpin(settings)
    choice.release(settings, 2)
    assert choice.read_canary(settings) is None
    assert number(loader.version_to_load(served)) == 2


def test_a_version_that_is_held_before_it_appears_is_never_the_latest(
    loader: VersionLoader, settings: Settings, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two steps of a look a job may hold a version and publish it: each look passes over it."""

    def publish_held(version: int) -> None:
        choice.hold(settings, version)
        publish(models, 2)
        (models / "2").rename(models / str(version))

    shutil.rmtree(models / "2")
    steps = [(choice, "chosen_version"), (layout, "numbers"), (choice, "exclude_held"), (choice, "_read_lists")]
    for version, (owner, name) in enumerate(steps, start=3):
        step = getattr(owner, name)

        def publish_first(*words: object, step: Any = step, version: int = version) -> object:
            publish_held(version)
            return step(*words)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, publish_first)
            assert number(loader.version_to_load(None)) == 1
    assert loader.version_to_load(None) == (1, layout.stamp(models / "1"))
    assert loader.numbers == [6, 5, 4, 3, 1]


def test_a_chosen_one_is_to_be_loaded_and_no_other(loader: VersionLoader, settings: Settings, models: Path) -> None:
    """Also where another one serves, and where it is not whole."""
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    choice.pin(settings, "1")
    assert number(loader.version_to_load(current)) == 1
    (models / "1" / "model.json").unlink()
    assert loader.version_to_load(current) is None
    assert loader.version_to_load(None) is None


def test_one_that_is_not_whole_is_passed_over(loader: VersionLoader, models: Path) -> None:
    """As it is while it is copied: the one below is to be loaded, and then served."""
    (models / "2" / "model.json").unlink()
    found = loader.version_to_load(None)
    assert number(found) == 1
    assert found is not None
    assert loader.version_to_load(loader.load(found)) is None


def test_a_refused_one_is_passed_over_until_its_files_change(loader: VersionLoader, models: Path) -> None:
    """Or until it is forgotten; then why it was refused is forgotten too."""
    reason = spoil(models, 2)
    assert refuse(loader, loader.version_to_load(None)).startswith(reason)
    assert number(loader.version_to_load(None)) == 1
    loader.refused.clear()
    assert number(loader.version_to_load(None)) == 2
    refuse(loader, loader.version_to_load(None))
    mend(models, 2)
    found = loader.version_to_load(None)
    assert found is not None
    assert loader.load(found).version == "2"
    assert loader.refused == {}


def test_a_version_that_serves_is_refused_when_its_files_spoil(loader: VersionLoader, models: Path) -> None:
    """What is loaded serves on: the spoilt files are looked at once, and the one below is no candidate then."""
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    spoil(models, 2)
    refuse(loader, loader.version_to_load(current))
    assert loader.version_to_load(current) is None


def test_another_model_never_takes_the_place_of_the_one_that_serves(loader: VersionLoader, models: Path) -> None:
    """Whichever is loaded first is the one."""
    first = models / "1" / "model.json"
    first.write_text(first.read_text().replace('"mnist-mlp"', '"other"'))
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    shutil.rmtree(models / "2")
    reason = f"{models}/1: expected model mnist-mlp, which is served, found other"
    assert refuse(loader, loader.version_to_load(current)) == reason
    assert loader.name == "mnist-mlp"


def test_whatever_loading_comes_to_is_a_refusal(loader: VersionLoader, models: Path) -> None:
    """Here a network that runs with as many pictures as its golden batch has, and with no other number of them."""
    with np.load(models / "2" / "golden.npz") as golden:
        count = len(golden["images"])

    def only_so_many(graph: Graph) -> None:
        constant(graph, "shape", np.array([count, 10]))
        graph.node.append(helper.make_node("Reshape", ["before", "shape"], ["probabilities"]))

    publish_edited(models, 3, only_so_many)
    assert refuse(loader, loader.version_to_load(None)).startswith(f"{models}/3: loading it failed with ")
    assert number(loader.version_to_load(None)) == 2


def test_latest_is_one_of_the_highest_hundred(loader: VersionLoader, models: Path) -> None:
    """However many folders there are, whose files are still to come, a look takes no longer."""
    for version in range(3, 102):
        (models / str(version)).mkdir()
    assert number(loader.version_to_load(None)) == 2
    (models / "102").mkdir()
    assert loader.version_to_load(None) is None


def test_why_nothing_serves_is_told(loader: VersionLoader, settings: Settings, models: Path) -> None:
    """The first that was refused, or else that there is none, or none that is not held."""
    expected = f"{models}: expected a version with golden.npz, model.json, model.onnx, found none"
    assert str(loader.no_version_error()) == expected
    for held in (1, 2):
        choice.hold(settings, held)
    assert loader.version_to_load(None) is None
    passed = " but the held ones and the canary: 2, 1; `python -m service promote 2` makes version 2 serve"
    assert str(loader.no_version_error()) == f"{expected}{passed}"
    for held in (1, 2):
        choice.release(settings, held)
    spoil(models, 2)
    spoil(models, 1)
    reason = refuse(loader, loader.version_to_load(None))
    refuse(loader, loader.version_to_load(None))
    assert str(loader.no_version_error()) == reason


def test_a_version_that_is_not_there_is_named_with_those_that_are(settings: Settings, models: Path) -> None:
    """By the setting that names it, or the pin file; one whose files are still to come is another matter."""
    settings = settings.model_copy(update={"model_version": "9"})
    loader = VersionLoader(settings, CheckedFiles())
    assert loader.version_to_load(None) is None
    sentence = f"{models}: there is no version 9, which MNIST_MODEL_VERSION names; the folder has 2, 1"
    assert str(loader.no_version_error()) == sentence
    choice.pin(settings, "7")
    assert loader.version_to_load(None) is None
    pinned = f"{models}: there is no version 7, which PINNED names; the folder has 2, 1"
    assert str(loader.no_version_error()) == pinned
    choice.unpin(settings)  # the setting still names 9
    assert str(loader.no_version_error()) == pinned
    choice.pin(settings, "7")
    (models / "7").mkdir()
    assert loader.version_to_load(None) is None
    expected = "expected version 7, which is the choice, with golden.npz, model.json, model.onnx, found none"
    assert str(loader.no_version_error()) == f"{models}: {expected}"


def test_a_canary_is_to_be_loaded_until_it_is_tried(loader: VersionLoader, settings: Settings, models: Path) -> None:
    """And again when its files change; it is not `latest`, and nothing is tried where nothing serves."""
    choice.write_canary(settings, 2, 30)
    told = choice.read_canary(settings)
    found = loader.version_to_load(None)
    assert number(found) == 1
    assert found is not None
    assert loader.canary_to_load(None, None) == (None, None)
    current = loader.load(found)
    told_now, canary = loader.canary_to_load(current, None)
    assert (told_now, canary) == (told, (2, layout.stamp(models / "2")))
    assert canary is not None
    tried = loader.load(canary)
    assert loader.canary_to_load(current, tried) == (told, None)
    os.utime(models / "2" / "model.onnx", ns=(1, 1))
    assert loader.canary_to_load(current, tried) == (told, (2, layout.stamp(models / "2")))


def test_what_is_no_canary_is_not_tried(loader: VersionLoader, settings: Settings, models: Path) -> None:
    """None told, one that is held, the one that serves itself; and one that is missing or refused is not loaded."""
    choice.pin(settings, "1")
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    assert loader.canary_to_load(current, None) == (None, None)
    for told in ("2 held", "1 30"):
        choice.canary_path(settings).write_text(told)
        assert loader.canary_to_load(current, None) == (None, None)
    choice.write_canary(settings, 7, 30)
    assert loader.canary_to_load(current, None) == (choice.read_canary(settings), None)
    choice.write_canary(settings, 2, 0)
    spoil(models, 2)
    refuse(loader, loader.canary_to_load(current, None)[1])
    assert loader.canary_to_load(current, None) == (choice.read_canary(settings), None)


def test_a_refused_version_that_is_signed_later_is_to_be_loaded(models: Path, tmp_path: Path) -> None:
    """When its signature appears, and when another one takes its place; the versions below serve meanwhile."""
    keys, other = make_keys(tmp_path), make_keys(tmp_path, "other")
    publish(models, 2)
    sign(models / "1", keys)
    settings = Settings.model_validate({"model_dir": models, "model_public_key": keys.public})
    loader = VersionLoader(settings, CheckedFiles())
    unsigned = f"{models}/2.sig: expected a signature of version 2, as MNIST_MODEL_PUBLIC_KEY demands, found none"
    assert refuse(loader, loader.version_to_load(None)) == unsigned
    found = loader.version_to_load(None)
    assert number(found) == 1
    assert found is not None
    current = loader.load(found)
    assert loader.version_to_load(current) is None
    sign(models / "2", other)
    assert "found one by a key that" in refuse(loader, loader.version_to_load(current))
    assert loader.version_to_load(current) is None
    sign(models / "2", keys)
    found = loader.version_to_load(current)
    assert number(found) == 2
    assert found is not None
    current = loader.load(found)
    assert current.version == "2"
    assert loader.refused == {}
    assert loader.version_to_load(current) is None


def test_a_canary_is_loaded_only_with_a_signature(models: Path, tmp_path: Path) -> None:
    """As the version that serves."""
    keys = make_keys(tmp_path)
    publish(models, 2)
    sign(models / "1", keys)
    settings = Settings.model_validate({"model_dir": models, "model_public_key": keys.public, "model_version": "1"})
    loader = VersionLoader(settings, CheckedFiles())
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    choice.write_canary(settings, 2, 30)
    assert "2.sig: expected a signature of version 2" in refuse(loader, loader.canary_to_load(current, None)[1])
    assert loader.canary_to_load(current, None) == (choice.read_canary(settings), None)
    sign(models / "2", keys)
    _, canary = loader.canary_to_load(current, None)
    assert canary is not None
    assert loader.load(canary).version == "2"


def test_other_keys_make_every_version_pass_again(models: Path, tmp_path: Path) -> None:
    """Also the one that serves: it is refused, and serves on. Keys that cannot be read refuse every version."""
    keys, other = make_keys(tmp_path), make_keys(tmp_path, "other")
    sign(models / "1", keys)
    named = tmp_path / "keys.pem"
    shutil.copy(keys.public, named)
    settings = Settings.model_validate({"model_dir": models, "model_public_key": named})
    loader = VersionLoader(settings, CheckedFiles())
    found = loader.version_to_load(None)
    assert found is not None
    current = loader.load(found)
    assert loader.version_to_load(current) is None
    shutil.copy(other.public, named)
    assert "found one by a key that" in refuse(loader, loader.version_to_load(current))
    assert loader.version_to_load(current) is None
    named.write_text("words")
    expected = f"MNIST_MODEL_PUBLIC_KEY: {named}: expected public keys of P-256, P-384 or P-521 in PEM, found none"
    assert refuse(loader, loader.version_to_load(current)) == expected
    named.unlink()
    assert refuse(loader, loader.version_to_load(current)).endswith("found No such file or directory")
    named.write_bytes(keys.public.read_bytes() + other.public.read_bytes())
    found = loader.version_to_load(current)
    assert found is not None
    assert loader.load(found).version == "1"


def test_what_passed_without_a_key_has_to_pass_with_it(models: Path, tmp_path: Path) -> None:
    """As where a service is started again beside others that share what was checked."""
    checked = CheckedFiles()
    without = VersionLoader(Settings.model_validate({"model_dir": models}), checked)
    found = without.version_to_load(None)
    assert found is not None
    without.load(found)
    keys, other = make_keys(tmp_path), make_keys(tmp_path, "other")
    sign(models / "1", other)
    loader = VersionLoader(Settings.model_validate({"model_dir": models, "model_public_key": keys.public}), checked)
    assert "found one by a key that" in refuse(loader, loader.version_to_load(None))
