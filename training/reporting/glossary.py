"""The glossary of a report: words that a reader may not know, each with a line that explains it.

In: text with words of the glossary in [brackets]. Out: HTML that shows a word's line on hover, on focus and on a touch.
"""

from __future__ import annotations

import html
import re
from itertools import count
from typing import Final

GLOSSARY: Final = {
    "accuracy": "The share of digits whose most probable class is the right one.",
    "activation": "The function that each neuron applies to its sum. Without it, layers would collapse into one.",
    "augmented": "Each digit is turned, scaled, sheared, moved and bent a little at random, anew in each epoch.",
    "batch norm": "It scales each neuron's sums to mean 0 and variance 1, then by two learnt numbers. Training needs "
    "fewer epochs; at export it is folded into the weights and the bias before it.",
    "bias": "A number that a neuron adds to its weighted sum: the weight of an input that is always 1.",
    "Brier score": "The squared distance between the ten probabilities and the truth, 1 for the digit and 0 for the "
    "others: 0 is perfect, 0.9 is a guess among ten, 2 is certain and wrong.",
    "calibrated": "Of the digits that get a confidence of 80 %, 80 % are right; the same holds for each confidence.",
    "confidence": "The largest of the ten probabilities.",
    "cross-entropy": "The mean of -ln p, where p is the probability of the right class: the NLL, for digits.",
    "deslant": "A fixed layer shears each digit upright and moves it to the middle, so that the network spends no "
    "weights on slant.",
    "divergence": "How far the ten probabilities are from the teacher's: 0 where they are equal (Kullback and "
    "Leibler). Both are softened first, so that the small ones count.",
    "ECE": "Expected calibration error: the mean distance between confidence and accuracy in 15 bins of confidence, "
    "weighted by the digits in each.",
    "epoch": "One pass over all the training digits.",
    "gradient norm": "The length of the loss's gradient with respect to a layer's weights: how strongly a step would "
    "change them. Where it vanishes in the first layers, they hardly learn.",
    "int8": "Weights and activations as whole numbers of 8 bits: about a quarter of the bytes.",
    "learning rate": "How far a step follows the gradient. One cycle rises to the peak, then falls to nearly 0.",
    "logits": "The ten sums of the last layer, before softmax.",
    "nats": "The unit of -ln p. 1 nat is a probability of 37 % (1/e) for what is right, 0.01 nats is one of 99 %.",
    "NLL": "Negative log-likelihood: the mean of -ln p, where p is the probability of the right digit. 0 is perfect, "
    "ln 10 = 2.30 is a guess among ten. It punishes confident mistakes.",
    "parameters": "The numbers that training learns: weights, biases, and the two numbers of each batch norm.",
    "principal components": "How far a digit goes in each of the directions in which the training digits differ most. "
    "The first layer learns on these few numbers instead of all pixels; at export they become part of its weights.",
    "shifts": "The logits are averaged over nine places of the digit, a pixel apart.",
    "softmax": "It makes probabilities of the logits: exponentials, divided by their sum.",
    "teacher": "A convolutional network that is trained first. The network then learns its probabilities for each "
    "augmented digit, which say more than a label. The teacher is in no file of the version.",
    "temperature": "One number, fitted on the validation digits, by which the logits are divided. Above 1 it lowers "
    "all confidences, below 1 it raises them; no answer changes.",
    "validation": "Digits of MNIST's training set that the network does not train on. Choices are made by them, so "
    "that the test digits stay a fair test.",
}
_numbers = count(1)  # of the ids, which a page has once


def explain(text: str) -> str:
    """Return text as HTML, in which each [word] has its line. [word|shown] has the line of its first part."""
    pattern = r"\[([^\]|]+)(?:\|([^\]]+))?\]"
    return re.sub(pattern, lambda match: explain_by(match[2] or match[1], GLOSSARY[match[1]]), html.escape(text))


def explain_by(shown: str, line: str) -> str:
    """Return HTML that shows a word, and a line on hover, on focus and on a touch."""
    number = next(_numbers)
    return (
        f'<button type="button" class="word" aria-describedby="w{number}">{shown}</button>'
        f'<span role="tooltip" id="w{number}">{html.escape(line)}</span>'
    )
