"""Images about runs: loss chart, report, contact sheet and animation. No network."""
