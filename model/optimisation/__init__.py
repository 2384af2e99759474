"""Optimisation of the pixels: L-BFGS, Adam, and the loop that runs them."""
