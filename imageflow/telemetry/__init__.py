"""Metrics, traces, logs, and the headers that carry them from message to message."""
