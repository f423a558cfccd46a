"""router.yaml: read, checked, and turned into frozen types. Every error names its place."""
