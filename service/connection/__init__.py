"""Connections of HTTP/1.1: framing, timeouts, limits, TLS, and the memory that a worker holds for its clients.

In: bytes of a connection. Out: complete requests; or an error is written and the connection is closed.
"""
