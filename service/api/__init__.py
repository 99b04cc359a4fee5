"""Answer our own routes: predictions, operation, the page and its documentation, and the port of the metrics.

In: requests. Out: responses. It knows the engine and nothing of the Open Inference Protocol, which is `service.v2`'s.
"""
