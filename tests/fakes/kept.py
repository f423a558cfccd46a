"""Keepers without processes: each test says what its engines do, and hears what is asked of them."""

from collections.abc import Callable, Collection
from pathlib import Path

from launchers.process import Keepers, Process
from launchers.record import ProcessRecord
from launchers.shortage import Shortages
from launchers.spec import Command


class FakeProcess(Process):
    """A process that runs until it is told to end, or the test has it end."""

    def __init__(self, pid: int, on_gone: Callable[[], None]) -> None:
        self._pid = pid
        self._on_gone = on_gone
        self.record: ProcessRecord | None = None
        self.exit_code: int | None = None
        self.gone = False
        self.deaf = False  # whether it lives on when it is asked to end
        self.orders: list[str] = []
        self.said: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """Its pid."""
        return self._pid

    @property
    def last_lines(self) -> tuple[str, ...]:
        """What the test had it say."""
        return self.said

    @property
    def reason(self) -> str:
        """The last of that."""
        return self.said[-1] if self.said else ""

    @property
    def shortages(self) -> Shortages:
        """What those lines say of it."""
        heard = Shortages()
        for line in self.said:
            heard.hear(line)
        return heard

    def exit(self, code: int) -> None:
        """Have it end."""
        self.exit_code, self.gone = code, True
        self._on_gone()

    def terminate(self) -> None:
        """End, unless it is deaf."""
        self.orders.append("terminate")
        if not self.deaf:
            self.exit(-15)

    def kill(self) -> None:
        """End."""
        self.orders.append("kill")
        self.exit(-9)

    def look(self) -> None:
        """Note that it was looked at."""
        self.orders.append("look")

    def release(self) -> None:
        """Note that it is left alone."""
        self.orders.append("release")


class FakeKeepers(Keepers):
    """Keeps what was spawned in `processes`: its commands, their fingerprints, and what of their output is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        self.commands: list[Command] = []
        self.fingerprints: list[str] = []
        self.hidden: list[Collection[str]] = []
        self.adopts = True  # whether what is left running can be taken over

    async def spawn(
        self,
        command: Command,
        log: Path,  # noqa: ARG002
        record: Path,  # noqa: ARG002
        on_gone: Callable[[], None] = lambda: None,
        *,
        port: int = 0,  # noqa: ARG002
        keep: bool = False,  # noqa: ARG002
        fingerprint: str = "",
        key: str = "",  # noqa: ARG002
        hidden: Collection[str] = (),
    ) -> Process:
        """Start a process that is none. The pid is one that no process has."""
        self.hidden.append(hidden)
        self.commands.append(command)
        self.fingerprints.append(fingerprint)
        self.processes.append(FakeProcess(1 << 30, on_gone))
        return self.processes[-1]

    async def adopt(
        self,
        record: ProcessRecord,
        on_gone: Callable[[], None] = lambda: None,
        hidden: Collection[str] = (),
    ) -> Process:
        """Take over a process that is none, or say that it has ended."""
        if not self.adopts:
            raise ChildProcessError("it has ended")
        self.hidden.append(hidden)
        self.processes.append(FakeProcess(record.pid, on_gone))
        return self.processes[-1]
