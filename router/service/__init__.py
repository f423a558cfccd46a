"""The router as a service of its system: `python -m router service install`, and what a running one tells its manager.

notify       tells systemd that the router is ready, reloads, stops, and lives
units        what a service's file says: systemd's units, launchd's plists; pure
installing   where that file lies, and which commands install, show and remove it; pure
looking      what a service is made of, on this machine
"""
