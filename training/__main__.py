"""The training job, top to bottom: data → network → fit → evaluate → export → publish.

In: a command line (`python -m training --help` lists every knob). Out: one new version below models/, and the facts of
the run below runs/. `python -m training evaluate` prints how good a published version is instead, `compare` lays runs
side by side, `sweep` searches knobs. `torchrun --nproc-per-node N -m training` trains in N processes. Exit codes: 0
done, 1 no data or no disk, 2 usage, 3 a gate refused, 130 Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__":
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: sys.exit(130))

import dataclasses
import logging
from typing import TYPE_CHECKING

import torch
from rich.console import Console

from . import data, sweep
from .config import Config, parse
from .errors import DataError, TrainingError
from .evaluation import handwriting
from .evaluation.metrics import evaluate, fit_temperature, outputs
from .export import quantise
from .export import to_onnx as export
from .export.card import describe
from .export.model_readme import readme
from .export.publish import publish
from .loop import distributed as ranks
from .loop.checkpoint import Keeper, forget
from .loop.fit import fit
from .network.mlp import NONE, Network
from .reporting import compare
from .reporting import trackers as track
from .reporting.report import report
from .reporting.run import Follower, Run
from .synthesis import rendered as seen

if TYPE_CHECKING:
    from pathlib import Path


def train(config: Config, console: Console) -> Path | None:
    """Train, prove and publish one version; returns its folder. Raises `TrainingError`.

    Of several processes the first alone writes, speaks and publishes; the others return None once it is trained.
    """
    torch.set_num_threads(config.threads)
    track.require_libraries(config)
    device = ranks.choose(config.device)
    config = dataclasses.replace(config, device="cuda" if device.type == "cuda" else "cpu")
    run = Run(config, console) if ranks.is_first() else Follower()
    tracking = track.Tracking(config, run.folder)

    with ranks.joined(device):
        with ranks.first_before_others():
            dataset = data.load(config.data_dir)
        training, validation = data.split(dataset.train, config.validation_share)
        run.say(f"{len(training.labels):,} digits to train on, from {dataset.source}", *dataset.warnings)
        rendered, held_out = seen.load()
        training = training.and_also(rendered.take(torch.arange(config.seen)))
        held_out = held_out.take(held_out.labels < NONE)

        network = Network.of(config).to(device)
        with Keeper(run.folder, config.checkpoint_seconds) as keeper:
            fitting = fit(network, training.to(device), validation.to(device), config, keeper)
            epochs = run.follow(tracking.follow(fitting), config.epochs)
    if isinstance(run, Follower):
        return None

    network.cpu()
    logits = outputs(network, validation.images)
    network.temperature.fill_(fit_temperature(logits, validation.labels))
    expected = outputs(network.probabilities, dataset.test.images)

    models = quantise.twins(export.to_onnx(network), dataset.train.images)
    answers = {name: export.run_onnx(model, dataset.test.images) for name, model in models.items()}
    parity = export.prove(expected, answers["fp32"])
    exports = quantise.compare(models, answers, dataset.test)
    quantise.require_harmless(exports, config.precision)
    model = models[config.precision]
    metrics = {
        "validation": evaluate(export.run_onnx(model, validation.images), validation.labels),
        "rendered": evaluate(export.run_onnx(model, held_out.images), held_out.labels),
        "test": evaluate(answers[config.precision], dataset.test.labels),
    }
    export.require_accuracy(metrics["test"], config.min_accuracy)

    card = describe(
        config,
        dataset,
        run=run.identifier(),
        epochs=epochs,
        metrics=metrics,
        parity=parity,
        exports=exports,
        temperature=network.temperature.item(),
    )
    probabilities = answers["int8"] if config.precision == "int8" else expected
    golden = export.golden(dataset.test, probabilities)
    version = publish(config.models_dir / config.name, model, golden, card, readme)
    run.report(report(card, network, dataset.test, probabilities))
    tracking.end(card, version)
    run.published(version)
    forget(run.folder)
    run.say(
        f"test accuracy {metrics['test'].accuracy:.2%}; {epochs[-1].seconds:.1f} s of training; published {version}"
    )
    return version


def main(words: list[str]) -> int:
    """Run the job that the command line asks for; returns the exit code."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("training").setLevel(logging.INFO)
    try:
        if words[:1] == ["evaluate"]:
            handwriting.main(words[1:])
        elif words[:1] == ["compare"]:
            compare.main(words[1:])
        elif words[:1] == ["sweep"]:
            sweep.main(words[1:])
        else:
            train(parse(words), Console())
    except (TrainingError, OSError) as error:  # OSError: a folder that cannot be written, a full disk
        if ranks.is_first() or isinstance(error, DataError | OSError):  # the rest is the same in all processes
            print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what ends Python's exit by an exception is told at length
    sys.exit(code)
