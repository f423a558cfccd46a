from types import SimpleNamespace
from typing import cast

from structlog.testing import capture_logs

from profiles.parsers import Sensors
from router.management import system
from router.management.devices import DeviceNow, Devices
from router.management.machine import Machine
from router.telemetry.history import Moment

DEVICE = DeviceNow("NVIDIA 0", 80, 20, {"qwen": 60}, Sensors(87, 64, 412.3, 700.0))


async def test_a_line_has_the_machine_its_devices_and_this_process():
    """As they are now."""
    with capture_logs() as logged:
        machine = Machine(cast("Devices", SimpleNamespace(now=lambda: [DEVICE])))
        system.write(machine, Moment(3, 2, 12.5, 1.5, in_flight_by={"qwen": 3}))
    (line,) = logged
    assert line["devices"] == {
        "NVIDIA 0": {
            "total": 80,
            "free": 20,
            "held": {"qwen": 60},
            "utilisation": 87,
            "temperature": 64,
            "power": 412.3,
            "power_limit": 700.0,
        }
    }
    assert (line["cpu_percent"], line["in_flight"]) == (12.5, {"qwen": 3})
    assert line["memory_bytes"] > line["memory_available"] > 0
    assert {"loop_lag", "in_flight", "queued", "descriptors"} <= line["router"].keys()
    assert (line["router"]["in_flight"], line["router"]["queued"]) == (3, 2)
