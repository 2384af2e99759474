"""Requests as untrusted input: tensors, sizes and bounds, checked before anything is decoded."""
