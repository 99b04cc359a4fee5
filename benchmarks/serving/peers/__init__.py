"""The servers of others, each as its documentation would have it written; each runs in an environment of its own.

All start as `python -m benchmarks.serving.peers.NAME`, with the model's file in MNIST_MODEL, the port in PORT and the
number of processes worth having in WORKERS.
"""
