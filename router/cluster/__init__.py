"""Other machines: routers that this one uses as backends.

`remote` asks a peer's management API. It knows nothing of what is routed there.
"""
