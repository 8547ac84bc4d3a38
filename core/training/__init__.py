"""Fitting what a domain brings: the only rooms beside ``models`` and ``encoder_compile`` that import torch."""
