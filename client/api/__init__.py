"""The client for programs, blocking and asynchronous: single runs, runs in chunks, checkpoints."""
