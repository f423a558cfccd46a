"""What can be wrong with a model's header."""

from launchers.errors import LaunchError


class HeaderError(LaunchError):
    """A header that is damaged, cut off, too large, or of another format; the message says what was found."""


class CutError(HeaderError):
    """A file that ends too early, as one of which a download goes on, or was given up."""
