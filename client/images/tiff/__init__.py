"""The reader of TIFF."""
