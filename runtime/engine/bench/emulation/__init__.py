"""Ranks on one machine, each with its own share of a core and its own link."""
