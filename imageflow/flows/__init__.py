"""Flow files: read, checked, described."""
