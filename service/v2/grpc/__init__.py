"""The Open Inference Protocol, version 2, over gRPC: an extra, imported only if MNIST_GRPC_PORT is set."""
