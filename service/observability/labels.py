"""Values of labels that the metrics share with the code that counts.

It imports nothing: `prometheus_client` must not be imported before `PROMETHEUS_MULTIPROC_DIR` is set, and the parent of
the workers decides on versions too.
"""

AGREEMENTS = ("same", "different", "doubted", "failed")  # of a picture that the served version and the canary answered
ROLLBACK_REASONS = ("errors", "latency", "agreement")
# How the templates of these routes end.
INFERENCE_ROUTES = ("/infer", "/ModelInfer", "/ModelStreamInfer", "/predict", "/predictions/{model}", ":predict")
RESULTS = ("success", "failure")
STAGES = ("decode", "queue", "inference", "encode")
