"""OpenAI's Responses API on chat completions, without anything stored.

Its parts: `responses_items` turns the conversation into messages, `responses_tools` the tools into functions, and
`responses_answer` writes what clients get.

What differs otherwise, and what becomes of it:

1. Nothing is stored: `previous_response_id`, `conversation`, `prompt`, `background` and `store: true` are errors. A
   `store` that is left out would mean true, but clients that don't use it leave it out, too: it counts as false.
2. `max_output_tokens`, `reasoning.effort` and `text.format` have other names in chats. A field that stands in the
   request under the chat's own name wins: a route set it.
3. `include`, `truncation`, `service_tier`, `top_logprobs`, `prompt_cache_key`, `safety_identifier` and fields that
   aren't known have no equivalent and are left out.
"""

import msgspec

from router.core.errors import BadRequestError
from router.translate import responses_request as request
from router.translate.chat import ChatTranslator
from router.translate.completions import NULL
from router.translate.reading import read
from router.translate.responses_answer import Echo, ResponsesWriter
from router.translate.responses_items import Conversation
from router.translate.responses_request import PASSED, Asked, Reasoning
from router.translate.responses_tools import Fields, Tools
from router.translate.speech import CHAT, Context, Translation

STORED = {
    "previous_response_id": "send the whole conversation in input, and no previous_response_id",
    "conversation": "send the whole conversation in input, and no conversation",
    "prompt": "send the prompt itself in instructions and input",
}
"""Fields that name what a server has stored, and what to do instead."""


_encode = msgspec.json.Encoder().encode


def responses(body: bytes, context: Context) -> Translation:
    """Turn a request of /v1/responses into a chat. Raises BadRequestError."""
    asked = read(request.request, body, "")
    refuse_stored(asked)
    tools = Tools()
    tools.add(asked.tools, "tools")
    conversation = Conversation(tools)
    conversation.system(asked.instructions or "")
    conversation.take(asked.input)
    reasoning = read(request.reasoning, asked.reasoning, "reasoning") if asked.reasoning else None
    chat: Fields = {"messages": conversation.messages}
    _put_tools(chat, tools, asked)
    _put_options(chat, asked, reasoning)
    streams = bool(asked.stream)
    if streams:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    summarizes = reasoning is not None and (reasoning.summary or reasoning.generate_summary) is not None
    writer = ResponsesWriter(context, Echo(asked), tools, streams=streams, summarizes=summarizes)
    return Translation(CHAT, _encode(chat), ChatTranslator(writer))


def refuse_stored(asked: Asked) -> None:
    """Do 1 above."""
    for name, instead in STORED.items():
        if getattr(asked, name) not in NULL:
            raise BadRequestError(f"{name}: no responses are stored here; {instead}.", param=name)
    if asked.store:
        raise BadRequestError("store: no responses are stored here; send store: false.", param="store")
    if asked.background:
        raise BadRequestError(
            "background: no responses are stored here to be asked for later; leave background out.", param="background"
        )


def _put_tools(chat: Fields, tools: Tools, asked: Asked) -> None:
    choice = tools.choose(asked.tool_choice)
    if not tools.functions:
        return
    chat["tools"] = list(tools.functions.values())
    if choice is not None:
        chat["tool_choice"] = choice
    if asked.parallel_tool_calls is not None:
        chat["parallel_tool_calls"] = asked.parallel_tool_calls


def _put_options(chat: Fields, asked: Asked, reasoning: Reasoning | None) -> None:
    """Do 2 above."""
    limit = asked.max_output_tokens if asked.max_tokens is None else asked.max_tokens
    if limit is not None and (asked.max_tokens is not None or asked.max_completion_tokens in NULL):
        chat["max_tokens"] = limit
    if reasoning is not None and reasoning.effort is not None:
        chat["reasoning_effort"] = reasoning.effort
    form = _form(asked)
    if form is not None:
        chat["response_format"] = form
    for name in PASSED:
        value = getattr(asked, name)
        if value not in NULL:
            chat[name] = value


def _form(asked: Asked) -> Fields | None:
    text = read(request.text, asked.text, "text") if asked.text else None
    form = text.format if text is not None else None
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return {"type": "json_object"}
    if form.type == "json_schema" and form.schema not in NULL:
        schema: Fields = {"name": form.name or "answer", "schema": form.schema}
        if form.description is not None:
            schema["description"] = form.description
        if form.strict is not None:
            schema["strict"] = form.strict
        return {"type": "json_schema", "json_schema": schema}
    raise BadRequestError(
        "text.format must be of type text, json_object or json_schema, the last with a schema.", param="text"
    )
