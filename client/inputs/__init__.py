"""Inputs of a run, checked before a call: controls, presets, octaves, pictures, and the recipe that repeats the run."""
