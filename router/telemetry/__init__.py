"""What the router says of itself: logs, and later metrics."""
