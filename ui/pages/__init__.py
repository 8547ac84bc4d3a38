"""The app's pages: inputs → one call → show."""
