"""Parts of the app's pages; each owns its state under a key of its own."""
