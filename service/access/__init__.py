"""Decide who may ask: API keys and their scopes and rates, origins, hosts, trusted proxies.

In: headers and addresses. Out: nothing, or one error of `service.errors`. It knows neither routes nor connections.
"""
