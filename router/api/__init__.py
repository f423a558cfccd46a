"""The control plane: what can be asked for, and how it is."""
