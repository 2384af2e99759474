"""Messages on the wire: requests are written, replies are read into typed results. No network."""
