"""Colour spaces and ICC profiles, and the conversion to sRGB."""
