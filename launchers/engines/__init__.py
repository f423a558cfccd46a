"""One file an engine: what to run, and how to tell that it is ready. Data and pure functions."""
