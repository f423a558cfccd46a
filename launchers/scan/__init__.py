"""Finds the models that are on this machine's disk, whoever put them there.

places       where programs keep models (pure)
walk         goes through folders, within bounds
sorting      which of a folder's files are one model (pure)
ollama       what a manifest of Ollama's store names (pure)
reading      reads a model's headers: what it is, or why it can't be used

Files come from anywhere: what is odd or broken becomes a reason, never an exception.
"""
