"""The machinery: loads models, retrieves, fills prompts, checks evidence. Knows no domain and no user interface."""
