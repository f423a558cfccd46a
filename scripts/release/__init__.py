"""What `make release` does: docs/releasing.md says when, and what comes after it."""
