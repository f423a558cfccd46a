"""What can be wrong with a model's header."""

from launchers.errors import LaunchError


class HeaderError(LaunchError):
    """A header that is damaged, cut off, too large, or of another format; the message says what was found."""
