"""The machinery: loads models, retrieves, fills prompts, checks evidence. Knows no domain and no user interface."""

import os

# Comparing a question with some ten thousand others takes about a millisecond; the threads that BLAS wakes for it, and lets spin afterwards,
# only take the cores from the encoder: measured on two cores, an answer then takes half as long again. Read when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
