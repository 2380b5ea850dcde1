"""What people do, each use case once."""
