"""Benchmarks: `python -m benchmarks`. The product does not import this package.

Each part is a module with `measure(settings, bench)`, which returns tables: `step`, `quality`, `serving`, `link`,
`scale`, `styles`, `soak`, `mixed`, `startup`. The baselines are `tutorial`, `pytorch` and `ceiling`. `results/` holds
measured figures.
"""
