"""VGG-19: layers, weights, convolutions, and the border of the image."""
