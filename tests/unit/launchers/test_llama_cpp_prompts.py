"""The part of the program around llama_cpp.server that checks and counts prompts; tests/engines runs it for real."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from launchers.wrappers import llama_cpp_prompts as prompts

LLAMA = SimpleNamespace(chat_handler=None, n_vocab=lambda: 10)


@pytest.mark.parametrize("bias", [{"10": 1}, {"-1": 1}, {"x": 1}])
def test_a_bias_is_for_a_token_that_there_is(bias):
    prompts.check_completion(LLAMA, {"logit_bias": {"9": 1.0}})
    prompts.check_completion(LLAMA, {"logit_bias": None})
    with pytest.raises(ValueError, match=r"no token|invalid literal"):
        prompts.check_completion(LLAMA, {"logit_bias": bias})


def test_a_model_of_text_gets_no_images():
    images = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    with pytest.raises(ValueError, match="reads text alone"):
        prompts.check_chat(LLAMA, images)
    prompts.check_chat(LLAMA, {"messages": [{"role": "user", "content": "a"}]})
    prompts.check_chat(SimpleNamespace(chat_handler=object(), n_vocab=lambda: 1), images)


class Model:
    """The part of llama_cpp's class that a count needs."""

    chat_handler = None
    verbose = cache = True

    def _create_completion(self, prompt):
        assert not self.cache
        self.set_seed(1)
        yield from self.generate(prompt.split(), temp=0)

    def set_seed(self, _seed):
        """See llama_cpp: the counting must not come here."""
        pytest.fail("it was changed")

    def generate(self, _tokens, **_options):
        """The same."""
        pytest.fail("it generated")

    def n_vocab(self):
        """See llama_cpp."""
        return 10


def chat(llama, *, messages, tools=None):
    """What the engine makes of a chat."""
    return llama.create_completion(
        prompt=" ".join(["<s>", *(each["content"] for each in messages), *(tools or ())]), max_tokens=5
    )


def test_a_chats_tokens_are_counted_where_it_would_be_generated():
    """The model itself is left as it is."""
    messages = [{"content": "a"}, {"content": "b"}]
    assert prompts.count(chat, Model(), {"messages": messages, "tools": ["t"]}) == 4
    with pytest.raises(RuntimeError, match="without a prompt"):
        prompts.count(lambda *_, **__: None, Model(), {"messages": []})


class Proxy:
    """What has the model."""

    def __init__(self, clip):
        self._default_model_settings = SimpleNamespace(clip_model_path=clip)

    def __call__(self, _model):
        """Give it."""
        return Model()


class Server:
    """The parts of llama_cpp.server.app that take a counter."""

    class CreateChatCompletionRequest:
        """Its type of bodies."""

    authenticate = "the check of the key"

    def __init__(self, *, clip):
        self.routes = {}
        self.router = SimpleNamespace(add_api_route=self._add)
        self._llama_proxy = Proxy(clip)

    def _add(self, path, endpoint, **options):
        self.routes[path] = endpoint, options


@pytest.mark.parametrize("clip", [None, "clip.gguf"])
def test_the_counter_is_behind_the_key(clip):
    server = Server(clip=clip)
    prompts.add_counter(server, lambda check: ("depends", check), chat)
    endpoint, options = server.routes["/v1/router/count_tokens"]
    assert options == {"methods": ["POST"], "dependencies": [("depends", server.authenticate)]}
    assert endpoint.__annotations__["body"] is Server.CreateChatCompletionRequest
    body = SimpleNamespace(model="m", model_dump=lambda include: {"messages": [{"content": "a"}]} if include else {})
    with pytest.raises(NotImplementedError, match="reads images") if clip else nullcontext():
        assert endpoint(body) == {"input_tokens": 2}
