"""The scheduler: fires runs, looks for products without images, watches alarms and queues, deletes what is old."""
