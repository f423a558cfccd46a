"""What this machine is, and which engines it should run."""
