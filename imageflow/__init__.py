"""ImageFlow: moves product images from an ERP to Omnitron over a message queue."""

__version__ = "0.2.0"
