"""What a model of the hub would be here, before it is fetched: which files, for which engine, and whether it fits.

Headers say that, and they are the first megabytes of the weights. They are written into files of the right size with
holes behind, and judged as models on this disk are.
"""

import tempfile
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Final

import aiohttp

from launchers.footprints.errors import HeaderError
from launchers.footprints.files import gguf_header
from launchers.scan.reading import PLAIN
from launchers.scan.sorting import PART
from launchers.scan.walk import Candidate
from profiles import Profile
from router.hub import choosing
from router.hub.asking import Hub, reason
from router.hub.cache import Cache
from router.hub.choosing import Choice
from router.hub.errors import HubError
from router.hub.listing import RemoteFile, Repository
from router.hub.names import Name
from router.scan.models import Machine, Model, judge

HEADERS: Final = (1 << 20, 16 << 20, 64 << 20)
"""Bytes that are fetched of a file, until its header is whole: that of GGUF has all words of the vocabulary."""


def chosen(repository: Repository, name: Name, profile: Profile, installed: Collection[str]) -> Choice:
    """Choose the files for this machine's engine: the profile's first that is installed.

    Raises HubError where the repository has nothing for any engine.
    """
    plain = choosing.safetensors(repository)
    if not choosing.quantisations(repository):
        if name.what and plain:
            raise HubError(f"{name.repository} has no GGUF files, and so no {name.what}: say {name.repository}")
        if plain is None:
            raise HubError(choosing.nothing(repository))
        return plain
    engine = next((each.name for each in profile.engines if each.name in installed), "")
    if plain and engine in PLAIN and not name.what:
        return plain
    return choosing.gguf(repository, name)


async def previewed(hub: Hub, repository: Repository, choice: Choice, machine: Machine) -> Model:
    """Judge a model by its headers. One whose headers can't be read has no entry, and a note. Raises HubError."""
    with tempfile.TemporaryDirectory(prefix="router-pull-") as folder:
        place = Path(folder)
        for each in choice.describing:
            # config.json, and what shows whether it calls tools; a tokenizer has megabytes, and says nothing here.
            if each.size <= HEADERS[0]:
                _write(place, each, await _beginning(hub, repository, each, each.size))
        for each in (*choice.weights, *((choice.projector,) if choice.projector else ())):
            await _header(hub, repository, each, place)
        return judge(_candidate(repository, choice, lambda file: place / _name(file), place), machine)


async def _header(hub: Hub, repository: Repository, file: RemoteFile, place: Path) -> None:
    """Fetch the header of a file with weights. One that is longer than any leaves a damaged file, which says so."""
    for size in HEADERS:
        path = _write(place, file, await _beginning(hub, repository, file, min(size, file.size)))
        if file.size <= size or not file.name.lower().endswith(".gguf"):
            return
        try:
            gguf_header(path)
        except HeaderError:
            continue
        return


def _write(place: Path, file: RemoteFile, begins: bytes) -> Path:
    path = place / _name(file)
    with path.open("wb") as stream:
        stream.write(begins)
        stream.truncate(file.size)
    return path


async def _beginning(hub: Hub, repository: Repository, file: RemoteFile, size: int) -> bytes:
    """Give the first bytes of a file. Raises HubError."""
    if not size:
        return b""
    try:
        async with hub.part(repository, file, 0, size) as (_, content):
            got = bytearray()
            while len(got) < size and (piece := await content.read(size - len(got))):
                got += piece
            return bytes(got)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise HubError(f"{file.name}: its beginning can't be fetched: {reason(error)}", may_pass=True) from error


def fetched(repository: Repository, choice: Choice, cache: Cache, machine: Machine) -> Model:
    """Judge a model that is in the cache now."""
    return judge(_candidate(repository, choice, cache.place, cache.place(choice.weights[0]).parent), machine)


def _candidate(repository: Repository, choice: Choice, place: Callable[[RemoteFile], Path], folder: Path) -> Candidate:
    """Describe the files of a choice as a search of the disk would."""
    files = tuple(place(each) for each in choice.weights)
    if not choice.is_gguf:
        name = repository.name.rpartition("/")[2]
        return Candidate(name, str(folder), files, is_gguf=False, hub=repository.name)
    stem = PurePosixPath(choice.weights[0].name).stem
    part = PART.fullmatch(stem)
    projector = None if choice.projector is None else place(choice.projector)
    return Candidate(part["stem"] if part else stem, str(files[0]), files, is_gguf=True, projector=projector)


def _name(file: RemoteFile) -> str:
    return PurePosixPath(file.name).name
