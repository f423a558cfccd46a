import asyncio

import pytest

from launchers.orders import Orders
from launchers.states import Event


def waiter() -> "asyncio.Future[None]":
    return asyncio.get_running_loop().create_future()


async def test_orders_are_taken_in_turn_and_what_an_action_led_to_comes_first():
    orders = Orders()
    assert not orders
    orders.add(Event.START)
    orders.add(Event.STOP, waiter())
    orders.add_first(Event.SPAWN_FAILED)
    assert orders.start_asked
    assert [orders.take() for _ in range(3)] == [Event.SPAWN_FAILED, Event.START, Event.STOP]
    assert not orders
    assert not orders.start_asked


async def test_who_waits_is_told_once_its_order_was_taken():
    orders, early, late, left = Orders(), waiter(), waiter(), waiter()
    orders.add(Event.STOP, early)
    orders.add(Event.KILL, left)
    left.cancel()
    orders.take()
    orders.take()
    orders.add(Event.STOP, late)
    orders.release()
    assert (early.done(), late.done()) == (True, False)
    orders.take()
    orders.release()
    assert late.done()


async def test_all_who_wait_are_told_an_error():
    orders, taken, waits = Orders(), waiter(), waiter()
    orders.add(Event.STOP, taken)
    orders.take()
    orders.add(Event.START)
    orders.add(Event.STOP, waits)
    orders.fail(ZeroDivisionError())
    for each in (taken, waits):
        with pytest.raises(ZeroDivisionError):
            await each
    assert not orders
