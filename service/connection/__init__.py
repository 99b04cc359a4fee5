"""Keep one connection in order: framing, deadlines, limits, and the bytes that a worker holds for its clients.

In: bytes of a connection. Out: complete requests, or an error written and the connection closed.
"""
