"""What the management API asks of the running router: one file for each of `router.api.admin`'s.

`endpoints` puts both together, `serving` serves them.
"""
