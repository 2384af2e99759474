"""The gRPC services of the embedded server, with TLS, tokens and the queue of requests."""
