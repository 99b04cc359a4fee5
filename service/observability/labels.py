"""Values of labels that the metrics share with the code that counts.

It imports nothing: `prometheus_client` must not be imported before `PROMETHEUS_MULTIPROC_DIR` is set, and versions are
chosen before.
"""

AGREEMENTS = ("same", "different", "doubted", "failed")  # of a picture that the served version and the canary answered
ROLLBACK_REASONS = ("errors", "latency", "agreement")
# How the templates of these routes end.
INFERENCE_ROUTES = ("/infer", "/ModelInfer", "/ModelStreamInfer", "/predict", "/predictions/{model}", ":predict")
RESULTS = ("success", "failure")
# Why a worker ended: with an exit code; by a signal, as for lack of memory; or killed by the service because it hung.
RESTART_REASONS = ("exit", "signal", "hang")
# The names of reader processes, as `ps` and `top` show them; a fork server has that of its readers.
READER_NAME, LARGE_READER_NAME = "mnist-reader", "mnist-large"
STAGES = ("decode", "queue", "inference", "encode")
