"""Loads on a real router whose models come and go: real engines, real memory, an artificial limit.

    python -m scripts.residency_load zipf      many models of which few fit, popularity by Zipf's law
    python -m scripts.residency_load agents    two models that don't fit together, asked for by two agents at once
    python -m scripts.residency_load burst     many requests at once for one model that isn't loaded
    python -m scripts.residency_load crowd     many models asked for at once, of which few fit
    python -m scripts.residency_load churn     one model loaded and unloaded again and again

`models` writes the models, `fleet` runs a router on them, `asking` sends the requests, `watching` looks at memory and
at what is left over. Each load gives its figures and what is wrong with them: no problem means that all held.
"""
