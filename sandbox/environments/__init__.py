"""Execution environments: their states, where calls are placed, and the channel to their init."""
