"""Pictures: files in many formats, read as upright sRGB without transparency, and results saved as files.

Each format has a reader. It decides by the header of the file whether the picture can be read exactly, and refuses it
by name if not. Conversion to sRGB follows once, for all readers. Nothing here knows servers or models.
"""
