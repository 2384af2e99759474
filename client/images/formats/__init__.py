"""Readers of file formats but TIFF, and the parts of files that they parse."""
