"""From a trained network to a model version: ONNX, its quantised variants, the gates, the card, the folder.

In: a `Network`, digits, the facts of a run. Out: `models/<name>/<n>/`, complete or absent. Knows no screen.
"""
