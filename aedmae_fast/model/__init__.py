"""The network, its masks and its checkpoints."""
