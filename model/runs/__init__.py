"""The signature `paint`: files in and out, and runs that resume from a state."""
