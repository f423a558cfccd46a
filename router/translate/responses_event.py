"""What is read of an engine's answer in /v1/responses. mypyc doesn't compile this: msgspec reads the annotations."""

import msgspec


class Event(msgspec.Struct):
    """What is read of every event, of any type."""

    type: str = ""
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    sequence_number: int | None = None
    logprobs: msgspec.Raw = msgspec.Raw()
    item: msgspec.Raw = msgspec.Raw()
    part: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()


class Named(msgspec.Struct):
    """What tells an item from others: calls of llama_server have a call_id alone."""

    id: str | None = None
    call_id: str | None = None


class Usage(msgspec.Struct):
    """The usage, in tokens."""

    input_tokens: int = 0
    output_tokens: int = 0


class Typed(msgspec.Struct):
    """What is read of a part."""

    type: str = ""


event = msgspec.json.Decoder(Event)
named = msgspec.json.Decoder(Named)
usage = msgspec.json.Decoder(Usage)
typed = msgspec.json.Decoder(Typed)
