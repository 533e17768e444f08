"""Decisions about pages and requests: pure bookkeeping without torch, clocks or I/O."""
