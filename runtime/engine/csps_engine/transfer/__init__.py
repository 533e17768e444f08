"""KV pages between groups: frames over TCP, acknowledged and checked."""
