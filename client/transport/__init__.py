"""Calls to a server: address, TLS, channel, deadline, retry, and errors from gRPC statuses."""
