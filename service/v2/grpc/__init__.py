"""The Open Inference Protocol, version 2, over gRPC: an extra, imported only where MNIST_GRPC_PORT is set."""
