from launchers.footprints.parts import RAM, Breakdown, Parts
from launchers.footprints.resident import Resident
from scripts.measure_footprints import HEAD, MIB, Measured, report


def test_a_line_compares_what_was_estimated_with_what_was_taken_beyond_an_empty_engine():
    said = Breakdown({RAM: Parts(weights=300 * MIB, cache=50 * MIB, compute=20 * MIB)})
    empty = Measured(Resident(private=20 * MIB, mapped=10 * MIB), 600, Breakdown({}))
    measured = Measured(Resident(private=120 * MIB, mapped=310 * MIB), 600, said)
    line = report("a model", Parts(300 * MIB, 50 * MIB, 40 * MIB, spare=20 * MIB), measured, empty, 30 * MIB)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        "a model", "300", "50", "40", "30", "20", "440", "370", "100", "300", "0", "400", "+10 %",
    ]  # fmt: skip
    assert len(cells) == HEAD.splitlines()[0].count("|") - 1
