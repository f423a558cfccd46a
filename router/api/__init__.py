"""The control plane: the router's own endpoints, for clients (`surface`) and for admins (`admin`)."""
