"""Exact attention with log-sum-exp, and the merge of partial results."""
