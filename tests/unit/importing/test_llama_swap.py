"""Ten configurations of llama-swap, each with where requests went, and what was changed in them."""

from pathlib import Path

import pytest

from router.config import load
from router.core.errors import ModelNotFoundError
from router.importing import llama_swap, source
from router.importing.accepting import accepted
from tests.unit.importing.routed import Made, Routed, made_of

FILES = Path(__file__).parent / "imports" / "llama-swap"
SECRETS = ("hf_notasecretofanybody", "sk-inner", "0123456789abcdef", "sk-nobodys", "sk-of-mother")

REQUESTS = {
    "docker-image": {
        "small": "small:small",
        "smaller": "smaller:smaller",
        "painter": "painter:painter",
        "gpt-image-1": "painter:painter",
        "dall-e-3": "painter:painter",
    },
    "two-gpus": {"coder-32b": "coder-32b:coder-32b", "coder": "coder-32b:coder-32b", "thinker": "thinker:thinker"},
    "macros": {
        "qwen": "qwen:qwen",
        "gemma:12b": "gemma-12b:gemma:12b",
        "gemma": "gemma-12b:gemma:12b",
        "google/gemma": "gemma-12b:gemma:12b",
        "forked": "forked:forked",
    },
    "groups": {
        "big": "big:big",
        "bigger": "bigger:bigger",
        "embed": "embed:embed",
        "text-embedding-3-small": "embed:embed",
        "rerank": "rerank:rerank",
    },
    "matrix": {
        "gemma": "gemma:gemma",
        "mistral": "mistral:mistral",
        "voice": "voice:voice",
        "llama-70b": "llama-70b:llama-70b",
    },
    "thinking": {
        "qwen3": "qwen3:qwen3-as-is",
        "qwen3:fast": "qwen3:qwen3-as-is",
        "qwen3:code": "qwen3:qwen3-as-is",
        "plain": "plain:plain-as-is",
        "gpt-4o": "plain:plain-as-is",
        "dotted": "dotted:dotted-as-is",
    },
    "podman": {
        "qwen-vl": "qwen-vl:qwen-vl-awq",
        "direct": "direct:direct",
        "far": "far:far",
        "compose": "compose:compose",
        "tts-1": "compose:compose",
    },
    "peers": {
        "local": "local:local",
        "box/local": "box:local",
        "box/model_a": "box:model_a",
        "model_a": "box:model_a",
        "embeddings/model_c": "box:embeddings/model_c",
        "open-router/z-ai/glm": "open-router:z-ai/glm",
        "z-ai/glm": "open-router:z-ai/glm",
        "other/model_b": "other:model_b",
        "box/model_b": "box:model_b",
    },
    "speech": {
        "writer": "writer:writer",
        "whisper": "whisper:whisper",
        "whisper-1": "whisper:whisper",
        "speaker": "speaker:speaker",
    },
    "household": {
        "chat": "chat:chat",
        "gpt-4": "chat:chat",
        "gpt-4o-mini": "chat:chat",
        "code": "code:code-as-is",
        "tiny": "tiny:tiny",
        "best": "chat:chat > tiny:tiny",
        "dev": "code:code-as-is",
        "many": "chat:chat > tiny:tiny",
    },
}
"""A configuration → the names that clients ask for, and where each goes: the backend, and the name that it is sent."""

UNKNOWN = {
    "peers": ["model_b", "open-router"],
    "household": ["nobody", "all"],
    "two-gpus": ["pair"],
    "speech": ["broken", "portless"],
}
"""Names that mean nothing there, as in llama-swap: one that two peers have, a group, what can't be started."""

ASKED = {"temperature": 1.5, "top_k": 5, "seed": 3}
CHANGES = [
    ("thinking", "qwen3", {"temperature": 0.6, "top_p": 0.95, "min_p": 0.05,
                           "chat_template_kwargs": {"enable_thinking": True}}),
    ("thinking", "qwen3:fast", {"temperature": 0.7, "top_p": 0.95, "min_p": 0.05,
                                "chat_template_kwargs": {"enable_thinking": False}}),
    ("thinking", "qwen3:code", {"temperature": 0.2, "top_p": 0.95, "min_p": 0.05, "seed": 7}),
    ("thinking", "plain", {"top_k": 5, "seed": 3}),
    ("thinking", "gpt-4o", {"top_k": 5, "seed": 3}),
    ("thinking", "dotted", {**ASKED, "chat_template_kwargs": {"enable_thinking": False}}),
    ("peers", "z-ai/glm", {"top_k": 5, "seed": 3, "provider": {"data_collection": "deny"}}),
    ("peers", "open-router/z-ai/glm", {"top_k": 5, "seed": 3, "provider": {"data_collection": "deny"}}),
    ("peers", "model_a", ASKED),
    ("household", "code", {**ASKED, "temperature": 0}),
    ("household", "dev", {**ASKED, "temperature": 0}),
    ("household", "gpt-4", ASKED),
]  # fmt: skip
"""What is sent of a request with the fields of ASKED."""

LISTED = {
    "macros": {"qwen", "gemma:12b", "forked"},
    "thinking": {
        "qwen3", "qwen3:fast", "qwen3:code", "plain", "gpt-4o", "dotted", "qwen3-as-is", "plain-as-is", "dotted-as-is",
    },
    "household": {"chat", "code", "tiny", "code-as-is", "best", "dev"},
}  # fmt: skip
"""What /v1/models lists: aliases only where `includeAliasesInList` says so."""


@pytest.fixture(scope="module")
def made() -> dict[str, Made]:
    return {name: made_of((FILES / f"{name}.yaml").read_bytes(), f"{name}.yaml") for name in REQUESTS}


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, table in REQUESTS.items() for model in table])
def test_a_request_goes_where_it_went(made, name, model):
    """To the same engine, which is asked by the same name."""
    assert Routed(made[name][2]).where(model) == REQUESTS[name][model]


@pytest.mark.parametrize(("name", "model"), [(name, model) for name, models in UNKNOWN.items() for model in models])
def test_a_name_that_meant_nothing_means_nothing(made, name, model):
    """Such as the name of a group."""
    with pytest.raises(ModelNotFoundError):
        Routed(made[name][2]).where(model)


@pytest.mark.parametrize(("name", "model", "sent"), CHANGES)
def test_a_request_is_changed_as_it_was(made, name, model, sent):
    """Fields are dropped, then set for all names, then for the one that was asked for."""
    assert Routed(made[name][2]).sent(model, **ASKED) == sent


@pytest.mark.parametrize("name", LISTED)
def test_names_are_listed_as_they_were(made, name):
    """And what a model is called beside its route."""
    assert Routed(made[name][2]).listed() == LISTED[name]


@pytest.mark.parametrize("name", REQUESTS)
def test_no_secret_is_carried(made, name):
    """Keys of clients are hashes, other secrets references."""
    assert not [each for each in SECRETS if each in made[name][1]]
    assert "\t" not in made[name][1]
    assert max(map(len, made[name][1].splitlines())) <= 120


def launch(made, name, backend):
    return next(each.launch for each in made[name][2].backends if each.name == backend)


def test_a_command_of_llama_server_is_a_model(made):
    """With its arguments by their long names, and without what the router says itself."""
    read = source.parsed((FILES / "two-gpus.yaml").read_bytes(), "f")
    found = llama_swap.imported(read, lambda path: path == "/opt/llama.cpp/llama-server")
    backends = load(Path("router.yaml"), {}, accepted(found).encode()).config.backends
    coder, thinker = (each.launch for each in backends)
    assert coder is not None
    assert thinker is not None
    assert (coder.engine, coder.model) == ("llama_server", "/srv/models/coder-32b-q4_k_m.gguf")
    assert coder.args["n-gpu-layers"] == 99
    assert coder.args["flash-attn"] is True
    assert not {"port", "host", "model"} & coder.args.keys()
    assert dict(coder.env) == {"CUDA_VISIBLE_DEVICES": "0"}
    assert thinker.args["predict"] == -1
    assert launch(made, "groups", "bigger").args["override-tensor"] == (r"blk\.2[0-9]\.=CPU", "exps=CPU")
    assert launch(made, "speech", "writer").model == "someone/Writer-GGUF:writer-q6.gguf"


def test_a_llama_server_by_its_path_stays_a_command(made):
    """The router runs another one, which may have been built for other devices. It listens on this machine alone."""
    found = launch(made, "two-gpus", "coder-32b")
    assert found.cmd[:5] == ("/opt/llama.cpp/llama-server", "--host", "127.0.0.1", "--port", "{port}")
    assert (found.engine, found.parallel, dict(found.env)) == ("llama_server", 10, {"CUDA_VISIBLE_DEVICES": "0"})
    assert launch(made, "docker-image", "small").cmd[-2:] == ("--port", "{port}")
    assert any("by its path" in each for each in made["two-gpus"][0].advice)


def test_macros_mean_what_they_meant(made):
    """A model's own win, within others, too; comments in commands are none of them."""
    qwen, gemma = launch(made, "macros", "qwen"), launch(made, "macros", "gemma-12b")
    assert (qwen.model, qwen.args["ctx-size"], qwen.args["temp"]) == ("/srv/models/qwen.gguf", 32768, 0.7)
    assert (gemma.model, gemma.args["ctx-size"]) == ("/srv/models/gemma-12b.gguf", 8192)
    assert (qwen.unload_after, gemma.unload_after) == (600, float("inf"))


def test_a_program_of_another_kind_is_a_command(made):
    """Told the router's port; of a kind that is known, what is private to it is refused."""
    forked = launch(made, "macros", "forked")
    assert forked.cmd[:3] == ("/home/me/ik_llama.cpp/build/bin/llama-server", "--port", "{port}")
    assert (forked.engine, forked.parallel) == ("llama_server", 2)
    painter = launch(made, "docker-image", "painter")
    assert painter.cmd[1:3] == ("--listen-port", "{port}")
    assert (painter.ready, painter.parallel, painter.engine) == ("/", 10, "auto")
    container = launch(made, "podman", "qwen-vl")
    assert "{port}:8000" in container.cmd
    assert "--api-key" not in container.cmd
    assert container.parallel == 16
    assert launch(made, "podman", "direct").engine == "vllm"
    assert launch(made, "speech", "whisper").cmd[-1] == ""


def test_when_models_are_loaded(made):
    """What is preloaded, at the start; what stays, is pinned; a ttl is a time to unload."""
    chat, code, big, embed = (
        launch(made, name, backend)
        for name, backend in (("household", "chat"), ("household", "code"), ("groups", "big"), ("groups", "embed"))
    )
    assert [each.load for each in (chat, code, big, embed)] == ["startup", *["on_demand"] * 3]
    assert [each.unload_after for each in (chat, code, big, embed)] == [900, 60, 1800, float("inf")]
    assert [each.pinned for each in (chat, code, big, embed)] == [False, False, False, True]
    assert big.start_timeout == 15


def test_peers_are_urls(made):
    """Their models have the peer's name before them, and their own where no other has that."""
    box, router, other = made["peers"][2].backends[1:]
    assert [each.url for each in (box, router, other)] == [
        "http://192.168.1.23", "https://openrouter.example/api/v1", "https://other.example/v2/v1",
    ]  # fmt: skip
    assert router.api_key.get_secret_value() == "value-of-OPEN_ROUTER_KEY"
    assert made["peers"][0].variables.keys() == {"OPEN_ROUTER_KEY", "OTHER_API_KEY"}


@pytest.mark.parametrize(
    ("name", "what", "line"),
    [
        ("speech", "models.speaker.unlisted", 18),
        ("speech", "models.broken.cmd", 22),
        ("speech", "models.portless.cmd", 24),
        ("speech", "models.speaker.checkEndpoint: none", 19),
        ("podman", "models.far.cmd", 21),
        ("podman", "models.qwen-vl.cmd: --api-key", 8),
        ("household", "routing.scheduler", 34),
        ("household", "selectors.many.strategy: spillover", 25),
        ("peers", "peers.open-router.timeouts", 13),
        ("two-gpus", "profiles", 5),
        ("thinking", "models.dotted.filters: stream", 23),
    ],
)
def test_what_is_left_out_is_told_with_its_line(made, name, what, line):
    """In the file, too."""
    imported, text, _ = made[name]
    assert [each.line for each in imported.left_out if each.what == what and each.is_lost] == [line]
    assert what in text


@pytest.mark.parametrize(
    ("text", "model", "where", "url"),
    [
        (
            "models: {}\npeers: {a: {proxy: 'http://${env.BOX}:8080', models: [m]}}",
            "m",
            "a:m",
            "http://value-of-box:8080",
        ),
        (
            "models: {}\npeers: {a: {proxy: 'http://${env.BOX}:8080/api/', models: [m]}}",
            "m",
            "a:m",
            "http://value-of-box:8080/api/v1",
        ),
        (
            "models: {}\npeers: {a: {proxy: '${env.BOX}', models: [m], apiKey: 'x${env.K}'}}",
            "a/m",
            "a:m",
            "http://127.0.0.1:1",
        ),
        ("models: {b: {cmd: x, proxy: 'http://far:1/api'}}", "b", "b:b", "http://far:1/api/v1"),
        ("models: {b: {cmd: x, proxy: 'http://me:pw@far:1'}}", "b", "b:b", "http://127.0.0.1:1"),
    ],
)
def test_where_others_are(text, model, where, url):
    """With variables in it, and with secrets, which become such."""
    _, said, config = made_of(f"healthCheckTimeout: 15\n{text}".encode())
    assert "pw@" not in said
    assert Routed(config).where(model) == where
    assert config.backends[-1].url == url


def test_a_peer_whose_url_is_none_is_a_comment():
    """Nothing else of the file is lost by it."""
    peers = "peers: {a: {proxy: 'http://[', models: [m]}, b: {proxy: 'http://b:1', models: [n]}}"
    imported, text, config = made_of(f"models: {{}}\nhealthCheckTimeout: 15\n{peers}".encode())
    assert [each.name for each in config.backends] == ["b"]
    assert "  # - name: a\n" in text
    assert [each.what for each in imported.left_out] == ["backend a", "route m"]


def test_what_is_not_needed_is_no_loss(made):
    """Ports, for one."""
    needless = {each.what for each in made["speech"][0].left_out if not each.is_lost}
    assert "startPort" in needless
    assert {each.what for each in made["groups"][0].left_out if each.is_lost} == set()


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("macros: {there: a}\nmodels:\n  m: {cmd: 'x --port ${PORT} ${there} ${not-there}'}", "cmd: ${not-there}", 3),
        ("models:\n  m:\n    cmd: x ${PORT}\n    env: ['A=${nope}', 'B=${env.X}']\n", "env: ${nope}", 4),
    ],
)
def test_a_macro_that_is_not_there_is_told(text, what, line):
    """The other program wouldn't start with it."""
    imported, _, _ = made_of(text.encode())
    assert [each.line for each in imported.left_out if each.what == f"models.m.{what}" and each.is_lost] == [line]


def test_members_that_are_no_models_are_told():
    """Whoever wrote them meant another one."""
    models = "models:\n  m: {cmd: 'x ${PORT}', aliases: [n]}\n"
    groups = "groups:\n  g: {members: [m, n, ghost]}\nhooks: {on_startup: {preload: [n, other]}}\n"
    imported, _, _ = made_of((models + groups).encode())
    lost = {each.what: each.line for each in imported.left_out if each.is_lost}
    assert lost == {"groups.g.members: ghost": 4, "hooks.on_startup.preload: other": 5}
