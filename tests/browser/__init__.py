"""The console in a real Chromium. Needs playwright (requirements-browser.lock, `make browser-tools`) and a Chromium."""
