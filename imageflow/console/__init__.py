"""The web console: pages of HTML at the gateway's `/`, made from what the actions give.

A page is a coroutine from a visit to what is shown (`pages/`, one module for each noun), and a template of the same name. It
holds no SQL and decides nothing that an action decides. `app.py` is what all pages have in common.
"""
