"""Whole processes of the service, with clients, proxies, a browser, Prometheus."""
