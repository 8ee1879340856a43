"""The command `fnbox`. Modules here import little: `fnbox env` runs in every new shell."""
