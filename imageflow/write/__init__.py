"""The writer: sends each product's newest image set to Omnitron, once, and settles its row."""
