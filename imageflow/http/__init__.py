"""Clients of the outside systems: the ERP and Omnitron."""
