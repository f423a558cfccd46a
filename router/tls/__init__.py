"""TLS: the router's own certificate, and what is trusted of backends.

`certificate` loads a certificate with its key and tries it. `trust` makes the contexts of clients: of the proxy's for
backends, and of the command line's for a router. `faults` words what is wrong.
"""
