"""CSPS engine: one rank of a sequence-parallel prefill group or of a decode pool."""
