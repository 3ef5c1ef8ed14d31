"""The source of the performance figures: the sidecar and other relays, in one run.

`python -m benchmarks` prints the table and writes results/latest.json. Read the ratios: the absolute figures
depend on the machine, so every round measures the plain relay next to the sidecar.
"""
