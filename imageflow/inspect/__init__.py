"""Looking into things: an endpoint, a flow's cases, a product's history, where a row came from."""
