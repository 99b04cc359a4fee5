"""The Open Inference Protocol, version 2, over REST and gRPC.

In: the protocol's requests. Out: its responses. `service.api` has the service's own routes.
"""
