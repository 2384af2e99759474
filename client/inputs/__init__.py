"""Inputs of a run: controls, presets, octaves, pictures, and the recipe that repeats it. Checked before a call."""
