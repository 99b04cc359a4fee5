"""Take a request through the engine, by one of two drivers: an ASGI route, or the fast path of a connection.

In: routes, and requests from either side. Out: replies. Both call the same functions of a route; they know its template
and its scope, and nothing of its bodies.
"""
