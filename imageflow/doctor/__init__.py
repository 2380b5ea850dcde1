"""The doctor: `visit.py` and `rabbit.py` look and decide nothing, `checks.py` decides and looks at nothing."""
