"""Container engines: where execution environments run."""
