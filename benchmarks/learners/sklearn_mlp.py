"""scikit-learn's MLPClassifier with its defaults (Adam, batches of 200, relu), but for 784-128-10, in float32.

In and out: `contract`. One `partial_fit` is one epoch; left to itself, `fit` would go on for as long as the training
loss falls.
"""

from __future__ import annotations

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.learners.contract import Clock, finish, given

EPOCHS = 20


def main() -> None:
    """Learn and tell."""
    digits, seed = given()
    x_train, x_validation, x_test = (
        (images.reshape(-1, 784) / 255).astype(np.float32)
        for images in (digits.x_train, digits.x_validation, digits.x_test)
    )
    model = MLPClassifier(hidden_layer_sizes=(128,), random_state=seed)
    clock = Clock()
    for _ in range(EPOCHS):
        model.partial_fit(x_train, digits.y_train, classes=range(10))
        clock.judge(lambda: model.score(x_validation, digits.y_validation))
    finish(
        test_accuracy=model.score(x_test, digits.y_test),
        weights=sum(array.size for array in (*model.coefs_, *model.intercepts_)),
    )


if __name__ == "__main__":
    main()
