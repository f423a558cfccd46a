"""Other machines: routers that this one uses as backends.

`peers` has their models here, as they are there. `remote` asks a peer's management API, and knows nothing of what is
routed there.
"""
