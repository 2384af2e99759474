"""Losses over the network: statistics of features, terms, and the objective that adds them up."""
