"""Log and metrics of the embedded server."""
