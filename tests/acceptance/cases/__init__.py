"""What ERPs, senders and users did in public bug reports of other products, and what must come of it here.

`data/CASE` holds the flow files and the ERP's answers of each case; `erp.py` plays them, `site.py` runs the services.
"""
