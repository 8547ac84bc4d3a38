"""Speed and quality beside peers, in one run, as ratios. Never part of the tests: machines differ and are shared."""
