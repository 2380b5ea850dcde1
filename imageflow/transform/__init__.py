"""The transformer: makes rows of pages, with the flow's script and mapping."""
