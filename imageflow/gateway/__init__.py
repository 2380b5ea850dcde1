"""The HTTP doors: outbound posts, the JSON API, Akinon's Integrator API, `/metrics`; and the queue that ERPs publish to."""
