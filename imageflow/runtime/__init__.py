"""What runs a stage: the service loop and the outbox publisher."""
