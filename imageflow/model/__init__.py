"""What the system speaks of: messages, runs, rows, pages, image sets, flows."""
