"""The engine loop: epochs in lockstep on a worker thread, and the agent that forms them."""
