"""What this machine is, and which engines it should run.

facts reads the machine, load reads the profiles, detect (pure) brings them together. Knows engines by name alone:
which module shows that one is installed, and which command installs it, is passed in.
"""

from profiles.detect import (
    Choice,
    EngineChoice,
    EngineNotInstalledError,
    Profile,
    ProfileError,
    UnknownEngineError,
    UnknownProfileError,
    choose_engine,
    detect,
)
from profiles.facts import Facts, gather
from profiles.load import load_profiles

__all__ = [
    "Choice",
    "EngineChoice",
    "EngineNotInstalledError",
    "Facts",
    "Profile",
    "ProfileError",
    "UnknownEngineError",
    "UnknownProfileError",
    "choose_engine",
    "detect",
    "gather",
    "load_profiles",
]
