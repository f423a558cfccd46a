import gc

from hypothesis import HealthCheck, settings

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # however slow or busy it is: what is tested is what is decided

gc.disable()  # until all is collected: none of that is garbage


def pytest_collection_finish() -> None:
    """Let the garbage collector look through what tests make, and not through the tests themselves each time."""
    gc.freeze()
    gc.enable()
