"""Drive requests through the engine: from an ASGI route, or from a connection's fast path.

In: a route and a request. Out: a reply. Both drivers call the same functions of the route.
"""
