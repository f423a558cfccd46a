"""What this machine is, and which engines it should run.

facts reads the machine, with parsers (pure) for each source; load reads the profiles; detect (pure) chooses. An engine
is only a name here: the caller passes the module or program that shows that it is installed, and the command that
installs it.

A platform is one YAML file beside this one: apple_silicon, nvidia, rocm, and cpu for everything else.

    about:    one line for people
    memory:   the share of the machine's memory (ram) or of its GPUs' (gpu) that all models together may take
    engines:  the first that is installed serves, unless router.yaml names one; `args` are what it gets unless
              router.yaml's launch.args say otherwise. Words such as $cpus stand for this machine's numbers:
              detect.WORDS has them all
"""

from profiles.detect import (
    AUTO,
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
    "AUTO",
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
