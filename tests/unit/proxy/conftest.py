"""Which of these tests run on the compiled hot path: not those that play its classes, which can't be inherited from."""

from router.proxy import exchange

IS_COMPILED = not exchange.__file__.endswith(".py")

PLAYED = [
    "test_attempt.py",
    "test_attempts.py",
    "test_charging.py",
    "test_connections.py",
    "test_directory.py",
    "test_downstream.py",
    "test_exchange.py",
    "test_following.py",
    "test_hedge.py",
    "test_interpreter.py",
    "test_loading.py",
    "test_queues.py",
    "test_recording.py",
    "test_refusals.py",
    "test_secured.py",
    "test_slow.py",
    "test_stalls.py",
    "test_upstream.py",
    "test_usage.py",
    "watching",
]
"""Tests that put their own connections, pools, ledgers or methods in the place of the router's."""

collect_ignore = PLAYED if IS_COMPILED else []
