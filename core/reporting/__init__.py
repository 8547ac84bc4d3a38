"""Pages and pictures of results, for people: one self-contained HTML file, no script from elsewhere. Knows no result."""
