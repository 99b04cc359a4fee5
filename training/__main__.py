"""The training job, top to bottom: data → network → fit → evaluate → export → publish.

In: a command line (`python -m training --help` lists every knob). Out: one new version below models/, and the facts of the
run below runs/. Exit codes: 0 published, 1 no data, 2 usage, 3 a gate refused, 130 Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path

import torch
from rich.console import Console

from training import data, export
from training.config import Config, parse
from training.errors import TrainingError
from training.evaluate import evaluate, fit_temperature, outputs
from training.fit import fit
from training.network import Network
from training.publish import publish
from training.run import Run


def train(config: Config, console: Console) -> Path:
    """Train, prove and publish one version; returns its folder. Raises `TrainingError`."""
    torch.set_num_threads(config.threads)
    run = Run(config, console)

    digits = data.load(config.data_dir)
    training, validation = data.split(digits.train, config.validation_share, config.seed)
    console.print(f"{len(training.labels):,} digits to train on, from {digits.source}")
    for warning in digits.warnings:
        console.print(f"WARNING: {warning}", style="bold red")

    network = Network(config.hidden, config.activation, batch_norm=config.batch_norm, seed=config.seed)
    epochs = run.follow(fit(network, training, validation, config), config.epochs)
    temperature = fit_temperature(outputs(network, validation.images), validation.labels)
    network.temperature.fill_(temperature)

    probabilities = outputs(network.probabilities, digits.test.images)
    metrics = {
        "validation": evaluate(outputs(network.probabilities, validation.images), validation.labels),
        "test": evaluate(probabilities, digits.test.labels),
    }
    export.require_accuracy(metrics["test"], config.min_accuracy)

    model = export.to_onnx(network)
    parity = export.prove(probabilities, export.run_onnx(model, digits.test.images))
    facts = {
        "opset": export.OPSET,
        "metrics": {name: dataclasses.asdict(values) for name, values in metrics.items()},
        "parity": dataclasses.asdict(parity),
        "temperature": temperature,
        "training": {
            "recipe": config.recipe,
            "seed": config.seed,
            "seconds": epochs[-1].seconds,
            "epochs": [dataclasses.asdict(epoch) for epoch in epochs],
            "knobs": config.knobs(),
        },
        "data": {
            "source": digits.source,
            "sha256": digits.checksums,
            "train": len(training.labels),
            "validation": len(validation.labels),
            "test": len(digits.test.labels),
            "warnings": digits.warnings,
        },
    }
    golden = export.golden(digits.test, probabilities)
    folder = publish(config.models_dir / config.name, model, golden, facts)
    run.published(folder)
    console.print(f"test accuracy {metrics['test'].accuracy:.2%}, {epochs[-1].seconds:.1f} s of training → {folder}", highlight=False)
    return folder


def main(words: list[str]) -> int:
    """Run the job that the command line asks for; returns the exit code."""
    console = Console()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        train(parse(words), console)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
