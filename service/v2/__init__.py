"""Answer the Open Inference Protocol, version 2, over REST and over gRPC.

In: the protocol's requests. Out: its responses. It knows the engine, and nothing of our own routes.
"""
