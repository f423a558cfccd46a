"""What an engine must not get from any client: fields that are private to it, and media that it would fetch. Pure.

Each engine's file lists its private fields (`PRIVATE`): those that reach into its memory, choose code or files, or
speak of other clients' requests. What only says how tokens are chosen is no private field. A request with one of them
is refused, unless router.yaml names it in `launch.allow`.

An engine fetches an image by its URL from wherever a client says: from the network behind it, or from its own disk. So
media have to be in the request (`data:` URLs), or at a host of `launch.media_hosts`.

    {"n_discard": 1}                                        a field of the top level
    {"chat_template_kwargs": {"chat_template": "…"}}        a field in what is handed on as fields (`PLACES`)
    {"messages": [{"content": [{"image_url": "…"}]}]}       media, in any list or object of the top level

Names are compared as a parser reads them, so that an escape in one hides nothing. Requests that `usual` recognises
aren't looked at: its types have no other fields, and no media but `data:` URLs.
"""

import re
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from launchers.engines.bodies import A_LIST, A_TEXT, AN_OBJECT, NULL, Fields, begins
from launchers.errors import UnfitRequestError
from launchers.spec import LaunchSpec

PLACES: Final = ("chat_template_kwargs", "extra_body")
"""Fields whose fields are read as if they stood at the top level, or are handed to what makes a prompt."""

TEMPLATE: Final = frozenset({
    "chat_template", "tokenize", "tokenizer_kwargs", "processor_kwargs", "return_tensors", "return_dict",
})  # fmt: skip
"""Arguments of a tokenizer's `apply_chat_template` that its callers set: they are no variables of a template."""

INLINE: Final = "data:"
"""The beginning of a URL that has what it names in itself."""

_EMBEDS: Final = ("image_embeds", "audio_embeds", "prompt_embeds")
"""Parts of a message that are tensors."""

_NO_PLACES: Final = frozenset({
    "tools", "functions", "response_format", "structured_outputs", "metadata", "logit_bias", "text", "tool_choice",
})  # fmt: skip
"""Fields of the top level in which names are somebody's own, such as those of a schema."""

_DEEPEST: Final = 8
"""Contents in contents that are looked into; a tool's result in a message has three."""

_URL: Final = re.compile(r"https?://([a-z0-9.-]+)(?::\d{1,5})?(?:/[^\s\\@\x00-\x1f\x7f]*)?", re.IGNORECASE)
"""Matches URLs that every parser reads alike. Some take what stands before an @, wherever it is, for a user's name."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/=_\s-]*")
_LOOKED_AT: Final = 256
"""Characters of what should be base64 that are looked at."""


_ABSENT: Final = msgspec.Raw()


class _Media(msgspec.Struct):
    """What a field of media is, if it is an object."""

    url: msgspec.Raw = _ABSENT
    uri: msgspec.Raw = _ABSENT
    path: msgspec.Raw = _ABSENT
    file_url: msgspec.Raw = _ABSENT
    image_url: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    file_data: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT


_fields = msgspec.json.Decoder(Fields).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_objects = msgspec.json.Decoder(list[Fields]).decode
_values = msgspec.json.Decoder(list[str | float | bool | None]).decode
_media = msgspec.json.Decoder(_Media).decode
_text = msgspec.json.Decoder(str).decode

_URLS: Final = ("image_url", "video_url", "audio_url", "file_url", "input_image")
_DATA: Final = ("input_audio", "input_video", "file_data")
_MEDIA: Final = frozenset({*_URLS, *_DATA, *_EMBEDS, "image", "source", "file"})
_NESTS: Final = frozenset({A_LIST, AN_OBJECT})


Look = Callable[[Fields, str], None]
"""Looks at an object of a request, and names its place where it refuses it."""


def refuse(found: Fields, private: Container[str], engine: str, spec: LaunchSpec | None, *, but: str = "") -> Look:
    """Raise UnfitRequestError for a private field, or for media elsewhere, of a request whose top level is `found`.

    `spec` says what the launch allows. Of the field `but`, which is read later in any case, each object is to be given
    to what is returned.
    """
    allow: Container[str] = () if spec is None else spec.allow
    _refuse_names(found, private, allow, engine)
    for place in PLACES:
        if place in found and begins(found[place]) == AN_OBJECT:
            within = _fields(found[place])
            _refuse_names(within, private, allow, engine, f"{place}.")
            _refuse_names(within, TEMPLATE, allow, engine, f"{place}.")
    looker = _Looker(engine, private, allow, () if spec is None else spec.media_hosts)
    looker.look(found, but)
    return looker.check


def _refuse_names(found: Fields, private: Container[str], allow: Container[str], engine: str, place: str = "") -> None:
    for name in found:
        if name in private and name not in allow and found[name] != NULL:
            raise UnfitRequestError(
                f"{place}{name} is private to {engine}, and not for its clients; launch.allow of its backend in"
                f" router.yaml lets it pass: [{name}].",
                f"{place}{name}",
            )


class _Looker:
    """Looks for media in one request."""

    def __init__(self, engine: str, private: Container[str], allow: Container[str], hosts: Iterable[str]) -> None:
        self._engine = engine
        self._private = private
        self._allow = allow
        self._hosts = tuple(hosts)

    def look(self, found: Fields, but: str) -> None:
        """Look at each list and object of the top level, but this one; at a field of media there, too."""
        for name, value in found.items():
            if name != but and name not in _NO_PLACES and begins(value) in _NESTS:
                self._walk(value, name, 0)
        for name in ("images", *_URLS):
            self._check_media(found.get(name, _ABSENT), name, in_data=False)

    def _walk(self, value: msgspec.Raw, place: str, depth: int) -> None:
        """Look into a list or an object."""
        if depth > _DEEPEST:
            raise UnfitRequestError(f"{place} is nested too deeply.", place.partition("[")[0])
        if begins(value) == AN_OBJECT:
            self.check(_fields(value), place, depth)
            return
        try:
            for number, each in enumerate(_objects(value)):
                self.check(each, f"{place}[{number}]", depth)
        except msgspec.ValidationError:
            self._walk_mixed(value, place, depth)

    def _walk_mixed(self, value: msgspec.Raw, place: str, depth: int) -> None:
        """Look into a list that isn't of objects alone: of texts or numbers, as a rule."""
        with suppress(msgspec.ValidationError):
            _values(value)
            return
        for number, each in enumerate(_items(value)):
            if begins(each) in _NESTS:
                self._walk(each, f"{place}[{number}]", depth + 1)

    def check(self, node: Fields, place: str, depth: int = 0) -> None:
        """Look at one object, and at what is in its content."""
        if not _MEDIA.isdisjoint(node):
            self._check_fields(node, f"{place}.")
        for name in ("content", "output"):
            inner = node.get(name)
            if inner is not None and begins(inner) in _NESTS:
                self._walk(inner, f"{place}.{name}", depth + 1)

    def _check_fields(self, node: Fields, place: str) -> None:
        embeds: Fields = {name: node[name] for name in _EMBEDS if name in node}
        _refuse_names(embeds, self._private, self._allow, self._engine, place)
        for name in _URLS:
            self._check_media(node.get(name, _ABSENT), place + name, in_data=False)
        for name in _DATA:
            self._check_media(node.get(name, _ABSENT), place + name, in_data=True)
        # As texts these two may be anything, and so may the data of a source.
        source, file = node.get("source", _ABSENT), node.get("file", _ABSENT)
        if source and begins(source) == AN_OBJECT:
            self._check_media(source, f"{place}source", in_data=False)
        if file and begins(file) == AN_OBJECT:
            self._check_media(file, f"{place}file", in_data=True)
        if "image" in _text_of(node.get("type", _ABSENT)):
            self._check_media(node.get("image", _ABSENT), f"{place}image", in_data=False)

    def _check_media(self, value: msgspec.Raw, place: str, *, in_data: bool) -> None:
        """Check one field of media; `in_data`: a text in it is base64 without a URL before it."""
        if not value:
            return
        kind = begins(value)
        if kind == A_TEXT:
            self._check_text(value, place, in_data=in_data)
        elif kind == A_LIST:
            for each in _items(value):
                self._check_media(each, place, in_data=in_data)
        elif kind == AN_OBJECT:
            inner = _media(value)
            for name in ("url", "uri", "path", "file_url", "image_url"):
                self._check_media(getattr(inner, name), f"{place}.{name}", in_data=False)
            if in_data:
                for name in ("data", "file_data"):
                    self._check_media(getattr(inner, name), f"{place}.{name}", in_data=True)
            if inner.content and begins(inner.content) in _NESTS:
                self._walk(inner.content, f"{place}.content", 1)

    def _check_text(self, value: msgspec.Raw, place: str, *, in_data: bool) -> None:
        # It may be megabytes, of which the first bytes say enough.
        if bytes(memoryview(value)[1 : 1 + len(INLINE)]) == INLINE.encode():
            return
        said = _text_of(value)
        if not said or said.startswith(INLINE) or (in_data and _BASE64.fullmatch(said[:_LOOKED_AT])):
            return
        if not self._may_fetch(said):
            raise UnfitRequestError(
                f"{place} is no data: URL, and {self._engine} would fetch it: send what it names in the request, or"
                " have launch.media_hosts of its backend in router.yaml name the host.",
                place.partition(".")[0].partition("[")[0],
            )

    def _may_fetch(self, said: str) -> bool:
        match = _URL.fullmatch(said)
        return match is not None and any(_is_of(match[1].lower(), each) for each in self._hosts)


def _is_of(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _text_of(value: msgspec.Raw) -> str:
    return _text(value) if value and begins(value) == A_TEXT else ""
