"""Observe the service: metrics, logs and the ids of requests.

In: numbers and events. Out: what Prometheus scrapes, and log lines. It imports nothing that it observes.
"""
