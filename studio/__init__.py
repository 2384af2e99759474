"""The studio: style transfer in a browser.

A small web application on this machine: pages and forms from the wire contract, a queue of runs, and their results in a
folder. It calls a server through `styleserve.client` and knows the contract, neither the model nor the embedded server.
"""
