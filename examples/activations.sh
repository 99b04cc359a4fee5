#!/bin/sh
# Five activations and two losses in a network ten layers deep: with sigmoid, the gradient that reaches the first
# layer is a small part of the last one's, and nothing is learnt. Writes runs/activations/compare.html (minutes).
set -eu
runs=runs/activations
rm -rf "$runs"
for loss in cross_entropy mse; do
    for activation in relu leaky_relu gelu tanh sigmoid; do
        python -m training --hidden 64,64,64,64,64,64,64,64,64 --no-batch-norm --learning-rate 1e-3 --epochs 3 \
            --activation $activation --loss $loss --min-accuracy 0 \
            --run-dir "$runs/$activation-$loss" --models-dir "$runs/models"
    done
done
python -m training compare "$runs"/*-* --html "$runs/compare.html"
