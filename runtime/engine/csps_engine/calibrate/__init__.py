"""Finds, on real text, how much each KV head of a model may leave out of sparse attention."""
