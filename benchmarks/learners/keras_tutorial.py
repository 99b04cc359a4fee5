"""TensorFlow's quickstart for beginners (tensorflow.org/tutorials/quickstart/beginner): 784-128-10 with dropout.

In and out: `contract`. As the page has it, but for the 5,000 digits held out, the seed, and a progress bar that is not
drawn.
"""

from __future__ import annotations

import tensorflow as tf

from benchmarks.learners.contract import Clock, finish, given

EPOCHS = 5


def main() -> None:
    """Learn and tell."""
    digits, seed = given()
    tf.keras.utils.set_random_seed(seed)
    x_train, x_validation, x_test = digits.x_train / 255.0, digits.x_validation / 255.0, digits.x_test / 255.0
    model = tf.keras.Sequential(
        [
            tf.keras.Input(shape=(28, 28)),
            tf.keras.layers.Flatten(),
            tf.keras.layers.Dense(128, activation="relu"),
            tf.keras.layers.Dropout(0.2),
            tf.keras.layers.Dense(10),
        ]
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])

    def accuracy() -> float:
        return float(model.evaluate(x_validation, digits.y_validation, verbose=0)[1])

    clock = Clock()
    judge = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: clock.judge(accuracy))
    model.fit(x_train, digits.y_train, epochs=EPOCHS, verbose=0, callbacks=[judge])
    finish(
        test_accuracy=float(model.evaluate(x_test, digits.y_test, verbose=0)[1]),
        weights=model.count_params(),
    )


if __name__ == "__main__":
    main()
