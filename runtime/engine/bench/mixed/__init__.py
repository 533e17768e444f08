"""Long prompts among short ones on a real clock: the engine's ranks against Sarathi-style ones."""
