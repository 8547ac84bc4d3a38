"""The verticals: data, one folder each. Nothing imports this package; the registry finds the folders."""
