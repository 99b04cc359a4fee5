#!/bin/sh
# Five activations and two losses in a network of 21 layers: with sigmoid hardly anything of the gradient reaches the
# first layer at first, and little is learnt. Writes runs/activations/compare.html (minutes).
set -eu
python=${PYTHON:-.venv/bin/python}
runs=runs/activations
deep=32,32,32,32,32,32,32,32,32,32,32,32,32,32,32,32,32,32,32,32
rm -rf "$runs"
for loss in cross_entropy mse; do
    for activation in relu leaky_relu gelu tanh sigmoid; do
        "$python" -m training --hidden $deep --no-batch-norm --learning-rate 1e-3 --epochs 3 --min-accuracy 0 \
            --activation $activation --loss $loss \
            --run-dir "$runs/$activation-$loss" --models-dir "$runs/models"
    done
done
"$python" -m training compare "$runs"/*-* --html "$runs/compare.html"
