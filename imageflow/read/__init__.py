"""The reader: asks the ERP for one page at a time, and decides what an answer means."""
