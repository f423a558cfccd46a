"""Plans the launches of any command (`launch.cmd`): which program, with which arguments."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from launchers.engines import ENGINES
from launchers.engines.command import CMD, PARALLEL, AnyCommand
from launchers.errors import LaunchError
from launchers.spec import LaunchSpec
from profiles import AUTO
from profiles.parsers import Gpu
from router.config import BackendConfig
from router.config.keys.launches import LaunchConfig
from router.fleet.launching import Launch


def command_of(
    backend: BackendConfig,
    launch: LaunchConfig,
    folder: Path,
    env: Mapping[str, str],
    gpus: tuple[Gpu, ...],
    *,
    keep: bool,
) -> Launch:
    """Plan a command. Its paths count from `folder`. Raises LaunchError if its program isn't there."""
    name, *arguments = launch.cmd
    program = shutil.which(str(folder / name) if "/" in name else name, path=launch.env.get("PATH"))
    if program is None:
        raise LaunchError(f"launch.cmd: there is no program {name}{'' if '/' in name else ' on PATH'}")
    cmd = (name, *(_placed(each, folder) for each in arguments))
    private = frozenset[str]() if launch.engine == AUTO else ENGINES[launch.engine].private
    engine = AnyCommand(launch.ready, launch.parallel, frozenset(launch.paths), private=private)
    spec = LaunchSpec(
        name=backend.name,
        engine=engine.name,
        model=program,
        source=program,
        served_name=next(iter(backend.models)),
        args={CMD: cmd, PARALLEL: launch.parallel, "ready": launch.ready, "paths": launch.paths},
        env=dict(env),
        start_timeout=launch.start_timeout,
        keep=keep,
    )
    return Launch(backend, spec, engine, program, f"runs {program}: router.yaml says so", gpus=gpus)


def _placed(argument: str, folder: Path) -> str:
    """Give the path relative to router.yaml's folder, where a file is; else the argument as it stands."""
    if argument.startswith("-") or not ("/" in argument or "." in argument):
        return argument
    try:
        return str(folder / argument) if (folder / argument).exists() else argument
    except OSError:
        return argument
