"""What text may leave us: secrets masked, nothing that steers a terminal. Pure."""
