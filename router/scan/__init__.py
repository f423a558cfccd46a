"""What of the models on this disk, and of the servers that run here, router.yaml could name.

models       finds the models, their engine, and whether they fit here; starts nothing
choosing     which engine reads a model, and what it is called (pure)
entries      the entries of router.yaml (pure)
servers      asks the servers of this machine for their models
"""
