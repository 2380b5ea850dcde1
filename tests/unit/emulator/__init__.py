"""Unit tests of the emulators."""
