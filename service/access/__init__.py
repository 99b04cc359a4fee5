"""Access control: API keys with scopes and rates, origins, hosts, trusted proxies.

In: headers, addresses and route templates. Out: nothing, or one error of `service.errors`. It knows no connection.
"""
