"""The harness: datasets, scorers, statistics, runs, calibration. Measures assistants through their public answer object only."""
