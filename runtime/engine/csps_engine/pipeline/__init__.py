"""Prefill and decode of one rank, made of model, attention, KV pool and mesh."""
