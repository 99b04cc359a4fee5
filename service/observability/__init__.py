"""Watch the service: metrics, logs and the ids of requests.

In: numbers and events. Out: what Prometheus scrapes, and lines of the log. It imports nothing that it watches.
"""
