import pytest

from router.core.apis import COUNT, MESSAGES, OLLAMA, RESPONSES, UNKNOWN, Apis, api_of, may_lack, says_no_such_path
from router.core.catalog import Backend
from router.core.ledger import Ledger


def test_a_server_elsewhere_is_only_known_not_to_be_asked_ollamas_paths():
    """Of all other APIs its answers teach whether it has them."""
    assert (UNKNOWN.lacks, UNKNOWN.speaks) == (OLLAMA, frozenset())


@pytest.mark.parametrize(
    ("path", "api"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/anything", "openai"),
        (MESSAGES, "anthropic"),
        (COUNT, "anthropic"),
        ("/api/chat", "ollama"),
        ("/api/anything", "engine"),
        ("/rerank", "engine"),
    ],
)
def test_whose_api_a_path_belongs_to(path, api):
    """There are four, whatever clients ask for."""
    assert api_of(path) == api


def test_what_an_answer_teaches():
    """Each path by itself; what was known before stays known."""
    apis = Apis(mends=frozenset({RESPONSES}), counter="/count")
    apis = apis.taught(MESSAGES, speaks=True).taught(COUNT, speaks=False)
    assert apis == Apis(OLLAMA | {COUNT}, frozenset({MESSAGES}), frozenset({RESPONSES}), "/count")


def test_the_ledger_notes_it_for_one_backend():
    """Another backend may differ."""
    one, other = Backend("a"), Backend("b")
    Ledger().learn_api(one, MESSAGES, speaks=False)
    assert MESSAGES in one.apis.lacks
    assert other.apis == UNKNOWN


RERANK, OWN = "/v1/rerank", "/inference"
ENGINE = Apis(has=frozenset({RERANK, "/v1/embeddings"}), needs={"/v1/embeddings": "x: true"}, engine="e", opaque=False)
COMMAND = Apis(has=frozenset({OWN}), engine="a command")


@pytest.mark.parametrize(
    ("apis", "has", "lacks", "unknown"),
    [
        (
            ENGINE,
            [RERANK],
            ["/v1/embeddings", "/v1/audio/speech", "/tokenize", OWN],
            ["/v1/other", MESSAGES, "/api/chat"],
        ),
        (COMMAND, [OWN], ["/other"], [RERANK, "/tokenize", "/v1/other", "/api/chat"]),
        (UNKNOWN, [], [], [RERANK, OWN, "/tokenize"]),
    ],
)
def test_which_paths_are_there(apis, has, lacks, unknown):
    """Of an engine, what its launch enables; of a command, what router.yaml says; of others, answers tell."""
    assert [apis.has_path(path) for path in has] == [True] * len(has)
    assert [apis.has_path(path) for path in lacks] == [False] * len(lacks)
    assert [apis.has_path(path) for path in unknown] == [None] * len(unknown)


@pytest.mark.parametrize(
    ("status", "length", "may"),
    [
        (404, 0, True),
        (405, 22, True),
        (501, 9000, True),
        (200, 80, True),
        (200, 0, False),  # a stream, or a body in chunks
        (200, 9000, False),
        (400, 80, False),
        (500, 80, False),
    ],
)
def test_answers_that_may_say_that_there_is_no_such_path(status, length, may):
    """By the status, or as LM Studio does, in a short answer with 200."""
    assert may_lack(status, length) is may


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (404, b'{"detail":"Not Found"}', True),
        (404, b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}', True),
        (404, b'{"error":{"message":"Invalid URL (POST /v1/messages)","type":"invalid_request_error"}}', True),
        (404, b"", True),
        (404, b"There is no POST /v1/messages here. See /v1/models.", True),
        (404, b'{"error":{"message":"The model `x` does not exist.","param":"model","code":404}}', False),
        (404, b'{"error":"model \'x\' not found"}', False),
        (404, b'{"error":{"code":"model_not_found"}}', False),
        (405, b'{"detail":"Method Not Allowed"}', True),
        (501, b"", True),
        (200, b'{"error":"Unexpected endpoint or method. (POST /v1/messages)"}', True),
        (200, b'{"type":"message","content":[]}', False),
    ],
)
def test_no_such_path_is_told_from_no_such_model(status, body, says):
    """A request for a model that isn't there must not be sent again, translated."""
    assert says_no_such_path(status, body) is says
