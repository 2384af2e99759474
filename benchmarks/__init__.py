"""What is measured, against what, by `python -m benchmarks`. Nothing of the product imports from here.

Each part is a module with `measure(settings, bench)`, which returns tables: `step`, `quality`, `serving`, `link`,
`scale`, `styles`, `soak`, `mixed`, `startup`. What they are compared with is in `tutorial`, `pytorch` and `ceiling`.
Measured figures are kept in `results/`.
"""
