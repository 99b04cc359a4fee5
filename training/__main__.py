"""The training job, top to bottom: data → network → fit → evaluate → export → publish.

In: a command line (`python -m training --help` lists every knob). Out: one new version below models/, and the facts of
the run below runs/. `python -m training evaluate` prints how good a published version is instead, and `compare` lays
runs side by side. `torchrun --nproc-per-node N -m training` trains in N processes. Exit codes: 0 done, 1 no data or no
disk, 2 usage, 3 a gate refused, 130 Ctrl-C or SIGTERM.
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

from training import compare, data, export, handwriting, ranks, seen
from training.card import describe
from training.checkpoint import Keeper, forget
from training.config import Config, parse
from training.errors import DataError, TrainingError
from training.evaluate import evaluate, fit_temperature, outputs
from training.fit import fit
from training.network import NONE, Network
from training.publish import publish
from training.report import report
from training.run import Follower, Run

if TYPE_CHECKING:
    from pathlib import Path


def train(config: Config, console: Console) -> Path | None:
    """Train, prove and publish one version; returns its folder. Raises `TrainingError`.

    Of several processes the first alone writes, speaks and publishes; the others return None once it is trained.
    """
    torch.set_num_threads(config.threads)
    device = ranks.choose(config.device)
    config = dataclasses.replace(config, device="cuda" if device.type == "cuda" else "cpu")
    run = Run(config, console) if ranks.is_first() else Follower()

    with ranks.joined(device):
        with ranks.first_before_others():
            dataset = data.load(config.data_dir)
        training, validation = data.split(dataset.train, config.validation_share)
        run.say(f"{len(training.labels):,} digits to train on, from {dataset.source}", *dataset.warnings)
        rendered, held_out = seen.load()
        training = training.and_also(rendered.take(torch.arange(config.seen)))
        held_out = held_out.take(held_out.labels < NONE)

        network = Network(config.hidden, config.activation, batch_norm=config.batch_norm, seed=config.seed).to(device)
        with Keeper(run.folder, config.checkpoint_seconds) as keeper:
            fitting = fit(network, training.to(device), validation.to(device), config, keeper)
            epochs = run.follow(fitting, config.epochs)
    if isinstance(run, Follower):
        return None

    network.cpu()
    logits = outputs(network, validation.images)
    network.temperature.fill_(fit_temperature(logits, validation.labels))
    probabilities = outputs(network.probabilities, dataset.test.images)
    metrics = {
        "validation": evaluate(outputs(network.probabilities, validation.images), validation.labels),
        "rendered": evaluate(outputs(network.probabilities, held_out.images), held_out.labels),
        "test": evaluate(probabilities, dataset.test.labels),
    }
    export.require_accuracy(metrics["test"], config.min_accuracy)

    model = export.to_onnx(network)
    parity = export.prove(probabilities, export.run_onnx(model, dataset.test.images))
    card = describe(
        config,
        dataset,
        run=run.identifier(),
        epochs=epochs,
        metrics=metrics,
        parity=parity,
        temperature=network.temperature.item(),
    )
    version = publish(config.models_dir / config.name, model, export.golden(dataset.test, probabilities), card)
    run.report(report(card, network, dataset.test, probabilities))
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
