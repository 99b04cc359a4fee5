"""One training job, from top to bottom: data → network → fit → evaluate → export → gates → card → publish.

In: a `Config`. Out: one new version below models/, and the facts of the run in its folder. `torchrun --nproc-per-node N
-m training` trains in N processes.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from . import data
from .config import add_flags, from_flags
from .data.digits import NOT_A_DIGIT
from .evaluation.conformal import calibrate
from .evaluation.metrics import evaluate, fit_temperature, outputs
from .evaluation.onnx_runtime import run_onnx
from .evaluation.reference import describe_reference
from .export import choice, quantise
from .export.card import describe
from .export.model_readme import render_readme
from .export.promotion import RenderedSet, judge_and_publish
from .export.signing import Signer
from .export.to_onnx import make_golden, prove_parity, require_accuracy, to_onnx
from .loop import distributed
from .loop.checkpoint import TEACHER, Checkpointer, remove_checkpoints
from .loop.distillation import configure_teacher
from .loop.fit import fit
from .network.mlp import Network
from .network.teacher import Teacher
from .reporting.report import EarlyReport, Findings, render_report
from .reporting.run import NonMainProcess, Run
from .reporting.screen import Output
from .reporting.trackers import Tracking, require_libraries
from .synthesis import rendered

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from rich.console import Console

    from .config import Config
    from .export.publish import Sign
    from .loop.fit import Epoch

HELP = "train, check and publish one model version (the default)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each hyperparameter."""
    add_flags(parser)


def run(given: dict[str, Any]) -> None:
    """Run the job of the flags that were given. Raises `TrainingError`."""
    train(from_flags(given), Output())


def train(config: Config, console: Console) -> Path | None:
    """Train, check and publish one version; returns its folder, None with `--no-publish`. Raises `TrainingError`.

    Of several processes only the main one writes files, prints and publishes; the others return None. A run that ends
    early leaves a report too, once it has a network.
    """
    with EarlyReport() as early:
        return _train(config, console, early)


def _train(config: Config, console: Console, early: EarlyReport) -> Path | None:
    torch.set_num_threads(config.threads)
    require_libraries(config)
    folder = config.models_dir / config.name
    sign = _prepare_publication(config, folder)
    device = distributed.choose_device(config.device)
    config = dataclasses.replace(config, device="cuda" if device.type == "cuda" else "cpu")

    with distributed.process_group(device):
        # Data: MNIST, and rendered pictures as the service sees them.
        with distributed.main_process_first():
            dataset = data.load(config.data_dir)
        # After the data: a run that has none leaves no folder.
        run = Run(config, console) if distributed.is_main() else NonMainProcess()
        tracking = Tracking(config, run.folder)
        training, validation = data.split(dataset.train, config.validation_share)
        run.say(f"{len(training.labels):,} digits to train on, from {dataset.source}", *dataset.warnings)
        pictures, held_out = rendered.load()
        training = training.concatenate(pictures.take(torch.arange(config.seen)))
        held_out = held_out.take(held_out.labels < NOT_A_DIGIT)

        # Network and loop, after those of its teacher, if it has one.
        network = Network.of(config).to(device)
        findings = early.begin(run, Findings(config, network, dataset.source, dataset.test))
        epochs = fit_network(config, run, tracking, network, (training.to(device), validation.to(device)))
    if isinstance(run, NonMainProcess):
        return None

    # Calibration, on the validation digits.
    network.cpu()
    network.temperature.fill_(fit_temperature(outputs(network, validation.images), validation.labels))

    # Export, and the gates that a model has to pass before it is published.
    run.stage("evaluating on the test digits")
    expected = findings.probabilities = outputs(network.probabilities, dataset.test.images)
    run.stage("exporting to ONNX")
    exported = to_onnx(network)
    run.stage("quantising to int8")
    models = quantise.make_variants(exported, dataset.train.images)
    run.stage("proving that ONNX Runtime computes what PyTorch does")
    predictions = {name: run_onnx(model, dataset.test.images) for name, model in models.items()}
    parity = prove_parity(expected, predictions["fp32"])
    run.say(f"exported: ONNX Runtime and PyTorch differ by {parity.max_difference:.1e} at most, on all test digits")
    run.stage("measuring the speed of fp32 and int8")
    exports = findings.exports = quantise.compare(models, predictions, dataset.test)
    run.stage("checking the gates")
    quantise.require_harmless(exports, config.precision)
    model = models[config.precision]
    metrics = {
        "validation": evaluate(run_onnx(model, validation.images), validation.labels),
        "rendered": evaluate(run_onnx(model, held_out.images), held_out.labels),
        "test": evaluate(predictions[config.precision], dataset.test.labels),
    }
    require_accuracy(metrics["test"], config.min_accuracy)

    # The card, and the version, which is held if it is worse than the one that serves.
    run.stage("publishing")
    card = describe(
        config,
        dataset,
        run=run.identify(),
        epochs=epochs,
        metrics=metrics,
        reference=describe_reference(model, validation, held_out, rendered.load_held_out_facts()),
        conformal=calibrate(model, {"validation": validation, "rendered": held_out}),
        rendered_sha256=rendered.checksum(),
        parity=parity,
        exports=exports,
        temperature=network.temperature.item(),
    )
    probabilities = predictions["int8"] if config.precision == "int8" else expected
    golden = make_golden(dataset.test, probabilities)
    version, notes = None, [f"--resume {run.folder} publishes this version"]
    if config.publish:
        version, notes = judge_and_publish(
            folder,
            model,
            golden,
            card,
            render_readme,
            pictures=RenderedSet(rendered.checksum(), partial(_measure, held_out)),
            number=config.version_number,
            promote=config.promote,
            sign=sign,
        )

    # What people read.
    findings.probabilities, findings.version = probabilities, version
    _report(run, tracking, findings, epochs, card=card, notes=notes)
    return version


def fit_network(
    config: Config,
    run: Run | NonMainProcess,
    tracking: Tracking,
    network: Network,
    digits: tuple[data.Digits, data.Digits],
) -> list[Epoch]:
    """Train the network, after its teacher if it has one, on digits for training and validation.

    Returns all epochs of the network.
    """
    teacher, seconds, stop_requested = None, 0.0, False
    if config.teacher_epochs:
        teacher, teacher_config = Teacher.of(config).to(digits[0].images.device), configure_teacher(config)
        with Checkpointer(run.folder, config.checkpoint_seconds, TEACHER) as checkpointer:
            fitting = fit(teacher, *digits, teacher_config, checkpointer, on_step=run.on_step)
            seconds = run.follow_teacher(fitting, teacher_config)[-1].seconds
            stop_requested = checkpointer.stop_requested  # after the last step, in its validation
    with Checkpointer(run.folder, config.checkpoint_seconds, stop_requested=stop_requested) as checkpointer:
        fitting = fit(network, *digits, config, checkpointer, teacher=teacher, seconds=seconds, on_step=run.on_step)
        return run.follow(tracking.follow(fitting))


def _prepare_publication(config: Config, folder: Path) -> Sign | None:
    """Return what signs the version; raise now, not after the training, for a key or a choice that cannot be read."""
    choice.chosen_version(folder)
    return None if config.sign_key is None else Signer(config.sign_key).sign_files


def _measure(digits: data.Digits, model: bytes) -> float:
    """Return the accuracy of a model.onnx that may be anybody's; raises `ValueError`."""
    try:
        return evaluate(run_onnx(model, digits.images), digits.labels).accuracy
    except Exception as error:  # noqa: BLE001 - the runtime raises a dozen unrelated classes
        raise ValueError(f"its model does not run: {' '.join(str(error).split())[:200]}") from None


def _report(
    run: Run, tracking: Tracking, findings: Findings, epochs: list[Epoch], *, card: Mapping[str, Any], notes: list[str]
) -> None:
    """Write the report of a complete run, and print its result and the notes about its version."""
    run.stage("writing the report")
    run.save_report(render_report(findings, epochs))
    run.stage("")
    version, config = findings.version, findings.config
    tracking.end(card, version or config.models_dir / config.name / "unpublished")
    if version:
        run.save_published(version)
        remove_checkpoints(run.folder)
    accuracy, seconds = card["metrics"]["test"]["accuracy"], epochs[-1].seconds
    run.say(f"test accuracy {accuracy:.2%}; {seconds:.1f} s of training; published {version or 'nothing'}")
    for note in notes:
        run.say(note)
