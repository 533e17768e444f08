"""Paged storage of keys and values on one rank."""
