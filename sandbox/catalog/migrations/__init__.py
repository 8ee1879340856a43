"""The schema's history: one module per step, run by `sandbox.catalog.database` when it is due."""
