"""Where scripts and mappings run."""
