"""Measurements of the engine, and the baselines it is measured against. Nothing here is shipped."""
