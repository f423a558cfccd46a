"""Watching over backends: health probes, looks into silent ones, and the load that engines publish."""
