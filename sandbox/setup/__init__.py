"""From a machine with Python to a control plane that answers: each step is skipped when done."""
