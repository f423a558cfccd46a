"""Where programs keep the models that they download. Pure: the environment and the home folder are arguments."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from launchers.weights import hub_cache

_OLLAMAS_SERVICE = Path("/usr/share/ollama/.ollama/models")


def known(beside: Path, environ: Mapping[str, str], home: Path, *, is_mac: bool = False) -> tuple[Path, ...]:
    """Give the folders that may hold models; `beside` is router.yaml's folder. Many of them don't exist."""
    return tuple(dict.fromkeys(_known(beside, environ, home, is_mac=is_mac)))


def of_lm_studio(home: Path) -> tuple[Path, ...]:
    """Give the folders that LM Studio keeps models in, now and before."""
    return home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"


def of_ollama(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Give the folders that may be Ollama's store; as a service of Linux it has a user of its own."""
    said = environ.get("OLLAMA_MODELS")
    return (Path(said).expanduser(),) if said else (home / ".ollama" / "models", _OLLAMAS_SERVICE)


def _known(beside: Path, environ: Mapping[str, str], home: Path, *, is_mac: bool) -> Iterator[Path]:
    cache = home / ".cache"
    yield beside / "models"
    # huggingface_hub, and with it mlx and vllm
    yield hub_cache({"XDG_CACHE_HOME": str(cache), **environ})
    yield from of_lm_studio(home)
    yield from of_ollama(environ, home)
    # llama.cpp
    said = environ.get("LLAMA_CACHE")
    usual = home / "Library" / "Caches" if is_mac else Path(environ.get("XDG_CACHE_HOME") or cache)
    yield Path(said).expanduser() if said else usual / "llama.cpp"
