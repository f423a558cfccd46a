"""Prompts that were sent and aren't read yet, and how many of them an engine reads side by side: see **Readers**."""

from math import inf
from typing import Final

from router.core.estimate.ask import Sent

LAPSE: Final = 300.0
"""Seconds until a single reader is believed again, if nothing has needed more of them."""

CLEARLY: Final = 0.005
"""Seconds by which a prompt must have been sent later, and begun earlier, than the one that it overtook. Prompts that
are sent together may arrive in any order, and so may the first tokens of those that were read together."""


class Readers:
    """The prompts of one backend that wait for their first token.

    `unread` has them in the order in which they were sent, `work` is the bytes to be read for them, and `count` how
    many of them are believed to be read side by side.
    """

    def __init__(self) -> None:
        self.unread: list[Sent] = []
        self.work = 0.0
        self.count = 1
        # When `count` was last seen at work, and the last time that an answer began.
        self._proved_at = 0.0
        self._begun_at = 0.0

    def add(self, sent: Sent, now: float) -> None:
        """Take in a prompt that is sent. Its turn has come if a reader is free."""
        self.unread.append(sent)
        self.work += sent.work
        if len(self.unread) <= self.count:
            sent.turn = now

    def drop(self, sent: Sent, at: float) -> None:
        """Let a prompt go; a reader has time for the next one since `at`."""
        unread, count = self.unread, self.count
        place = unread.index(sent)
        del unread[place]
        if place < count <= len(unread):
            following = unread[count - 1]
            following.turn = max(following.at, at)
        self.work = self.work - sent.work if unread else 0.0

    def begun(self, sent: Sent, at: float) -> None:
        """Let a prompt go because its answer has begun."""
        self._begun_at = max(self._begun_at, at)
        self.drop(sent, self._begun_at)

    def learn(self, sent: Sent, now: float) -> None:
        """Learn from a first token, before `begun`, how many readers there are.

        If more prompts that were sent before this one still wait than there are readers, it has overtaken one of them.
        When that one begins clearly later, both were read at the same time.
        """
        unread, count = self.unread, self.count
        place = unread.index(sent)
        if place >= count and sent.streams:
            overtaken = unread[place - count]
            if overtaken.streams and overtaken.overtaken_at == inf and sent.at - overtaken.at > CLEARLY:
                overtaken.overtaken_at = now
        if now - sent.overtaken_at > CLEARLY:
            self.count, self._proved_at = count + 1, now
            if len(unread) > count:
                unread[count].turn = unread[count].at
        elif place >= count - 1:
            self._proved_at = now
        elif now - self._proved_at > LAPSE:
            self.count = 1
