"""The writer's job as an engineer would build it on other frameworks: rows from RabbitMQ, one POST each, no logs.

They are tuned as their documentation advises, and let off much of what the writer does: no ledger, no row logs, no
retries, no adaptive concurrency. Their messages hold as many rows as ours.
"""
