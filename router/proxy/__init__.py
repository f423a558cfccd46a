"""The data plane: requests in, bytes out, nothing gathered on the way."""
