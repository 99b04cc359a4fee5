"""The facts of a run for people: its folder, the screen, its report, the comparison of runs, TensorBoard and MLflow.

In: a `Config`, epochs, a card. Out: JSON, HTML and event files in the run's folder. Knows no training loop.
"""
