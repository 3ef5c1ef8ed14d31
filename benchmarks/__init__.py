"""What the performance claims rest on: the sidecar beside a plain relay, measured in one run.

`python -m benchmarks` prints the table and writes results/latest.json. Read the ratios: absolute figures are those of
one machine on one day, which is why the plain relay is measured beside the sidecar, round by round.
"""
