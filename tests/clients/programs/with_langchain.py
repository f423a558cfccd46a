"""LangChain: with_langchain.py API FEATURE URL MODEL; its last line is JSON, `text` and its number of `pieces`."""

import json
import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, BaseMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


@tool
def look_up(word: str) -> str:
    """Look a word up in the book of words."""
    return f"{word} means {word[::-1]}"


def made(api: str, url: str, model: str) -> BaseChatModel:
    """Make the chat model that speaks an API."""
    if api == "/v1/messages":
        return ChatAnthropic(model=model, base_url=url, api_key="none", max_tokens=40, max_retries=0)
    if api == "/api/chat":
        return ChatOllama(model=model, base_url=url, num_predict=40)
    responses = api == "/v1/responses"
    return ChatOpenAI(
        model=model, base_url=url + "/v1", api_key="none", max_tokens=40, max_retries=0, use_responses_api=responses
    )


def embedding(api: str, url: str, model: str) -> Embeddings:
    """Make the model of embeddings that speaks an API."""
    if api == "/api/embed":
        return OllamaEmbeddings(model=model, base_url=url)
    return OpenAIEmbeddings(model=model, base_url=url + "/v1", api_key="none", check_embedding_ctx_length=False)


def main(api: str, feature: str, url: str, model: str) -> None:
    """Do what a user of the library does, and say what came."""
    if feature == "embeddings":
        print(json.dumps({"sizes": [len(each) for each in embedding(api, url, model).embed_documents(["a", "b"])]}))
        return
    chat = made(api, url, model)
    messages: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("What does sesame mean?")]
    model_with = chat.bind_tools([look_up]) if feature == "tools" else chat
    while True:
        pieces: list[BaseMessageChunk] = list(model_with.stream(messages))
        whole = pieces[0]
        for piece in pieces[1:]:
            whole += piece
        if not whole.tool_calls:
            break
        messages.append(whole)
        messages += [ToolMessage(look_up.invoke(call["args"]), tool_call_id=call["id"]) for call in whole.tool_calls]
    text = whole.text if isinstance(whole.text, str) else whole.text()
    print(json.dumps({"text": text, "pieces": len(pieces), "usage": whole.usage_metadata}))


if __name__ == "__main__":
    main(*sys.argv[1:])
