import math

import pytest
from pydantic import SecretStr, ValidationError

from router.config import BackendConfig, LaunchConfig
from router.config.scalars import FromEnvironment
from tests.configured import LAUNCHED, REMOTE, backend, errors


@pytest.mark.parametrize(
    ("url", "kept", "name"),
    [
        ("http://box:8000", "http://box:8000", "box:8000"),
        ("HTTPS://Box.lan/", "https://box.lan", "box.lan:443"),
        ("http://box/Base/v2/", "http://box/Base/v2", "box:80"),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000"),
        ("http://10.0.0.1:08000", "http://10.0.0.1:8000", "10.0.0.1:8000"),
    ],
)
def test_a_url_names_its_backend(url, kept, name):
    """A URL keeps its base path, and gives host:port as the name; its models are asked for."""
    made = backend(url=url)
    assert (made.url, made.name, dict(made.models)) == (kept, name, {})


@pytest.mark.parametrize(
    "url",
    ["box:8000", "ftp://box", "http://", "http://box:x", "http://b/?q=ü", "http://b/#f", "http://u:p@b", "http://a b"],
)
def test_a_wrong_url(url):
    """Anything but http(s)://host[:port][/path] is refused."""
    assert errors({"backends": [{"url": url}]})[0].startswith("backends[0].url: Value error, expected http://host:port")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://mac-studio:8001", "mac-studio"),
        ("https://studio.lan/router", "studio.lan"),
        ("http://192.168.1.5:8001", "192.168.1.5:8001"),
        ("http://[::1]:8001", "[::1]:8001"),
        ("http://localhost:8001", "localhost:8001"),
    ],
)
def test_a_router_names_its_backend(url, name):
    """Its host stands before the names of its models, where that tells it from others."""
    made = backend(router=url, admin_key="k")
    assert (made.name, made.elsewhere, dict(made.models)) == (name, url, {})


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openai/v1/embeddings/", "/v1/messages?a=b"])
def test_a_url_of_one_endpoint(path):
    """What documents show for curl isn't the base."""
    assert "the url is what stands before /" in errors({"backends": [{"url": f"http://box{path}"}]})[0]


@pytest.mark.parametrize(
    ("url", "kept", "shown"),
    [
        ("http://box?a=b", "http://box?a=b", "http://box?(hidden)"),
        ("https://box/Openai/?api-version=1", "https://box/Openai?api-version=1", "https://box/Openai?(hidden)"),
        ("http://box/v1?", "http://box/v1", "http://box/v1"),
        (FromEnvironment("http://box/key?a=b"), "http://box/key?a=b", "http://box/(hidden)"),
    ],
)
def test_a_url_with_a_query(url, kept, shown):
    """It is sent with each request, and isn't shown: it may be a key."""
    made = backend(url=url)
    assert made.url == kept
    assert made.name.partition(":")[0] == "box"
    assert made.model_dump(mode="json")["url"] == shown


def test_headers_of_a_url():
    """Their names in any case; values are secret; what the environment leaves empty isn't sent."""
    made = backend(url="http://box", headers={"API-Key": "k", "x-n": 7, "x-none": FromEnvironment("")})
    assert dict(made.headers) == {"api-key": SecretStr("k"), "x-n": SecretStr("7")}
    assert made.model_dump(mode="json")["headers"] == {"api-key": "(hidden)", "x-n": "(hidden)"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"headers": {"a b": "x"}}, "is no name of a header"),
        ({"headers": {"Host": "x"}}, "is a header that the router writes itself"),
        ({"headers": {"x-a": "1", "X-A": "2"}}, "stands here twice"),
        ({"headers": {"x-a": "ü"}}, "expected ASCII text"),
        ({"api_key": "schlüssel"}, "api_key: Value error, expected ASCII text: it is sent in a header of HTTP"),
        ({"headers": {"Authorization": "x"}, "api_key": "k"}, "write one of the two"),
        ({"probe": "health"}, "expected `never`, or a path such as /health"),
        ({"probe": 5}, "expected `never`, or a path such as /health"),
    ],
)
def test_wrong_headers_and_probes(keys, said):
    assert said in errors({"backends": [{"url": "http://box", **keys}]})[0]


@pytest.mark.parametrize("keys", [{"headers": {"x-a": "1"}}, {"probe": "never"}])
def test_headers_and_probes_are_for_urls(keys):
    """An engine that is launched is asked as its kind needs."""
    assert "this is for a `url`" in errors({"backends": [{**LAUNCHED, **keys}]})[0]


def test_a_command_takes_the_place_of_a_model():
    """Its arguments are text, numbers too."""
    launch = backend(name="w", launch={"cmd": ["serve", "-p", "{port}", 5, ""], "paths": ["/inference"]}).launch
    assert launch is not None
    assert (launch.cmd, launch.model, launch.ready, launch.parallel) == (
        ("serve", "-p", "{port}", "5", ""), None, "/health", 1,
    )  # fmt: skip
    assert backend(name="w", launch={"cmd": ["serve"], "env": {"PORT": "{port}"}}).launch is not None


def test_a_command_may_say_which_engine_it_is():
    """What is private to that engine is refused, then."""
    launch = backend(name="w", launch={"cmd": ["serve", "{port}"], "engine": "vllm"}).launch
    assert launch is not None
    assert launch.engine == "vllm"


def test_what_clients_may_send_to_an_engine():
    """Nothing by default."""
    shut = backend(name="w", launch={"model": "m"}).launch
    assert shut is not None
    assert (shut.allow, shut.media_hosts) == ((), ())
    opened = {"allow": ["n_discard", "speculative.n_max", "/v1/x"], "media_hosts": ["Images.Example.org", "*.cdn.net"]}
    launch = backend(name="w", launch={"model": "m", **opened}).launch
    assert launch is not None
    assert launch.allow == ("n_discard", "speculative.n_max", "/v1/x")
    assert launch.media_hosts == ("images.example.org", "*.cdn.net")


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        ({}, "neither `model` nor `cmd` says what to run"),
        ({"cmd": []}, "neither `model` nor `cmd` says what to run"),
        ({"cmd": ["a", "{port}"], "model": "m"}, "either `model`"),
        ({"model": "m", "allow": ["a b"]}, "expected the name of a field in requests"),
        ({"model": "m", "allow": "n_discard"}, "expected a list"),
        ({"model": "m", "media_hosts": ["http://example.org"]}, "expected a host's name alone"),
        ({"cmd": ["a", "{port}"], "args": {"a": 1}}, "a `cmd` has its arguments in itself"),
        ({"cmd": ["a"]}, "the command must be told its port"),
        ({"cmd": ["a", "{port}"], "paths": ["/v1/x"]}, "is the router's own"),
        ({"cmd": ["a", "{port}"], "paths": ["/health"]}, "is the router's own"),
        ({"cmd": ["a", "{port}"], "paths": ["x"]}, "expected a path"),
        ({"cmd": ["a", "{port}"], "ready": "x"}, "expected a path"),
        ({"cmd": ["a", True]}, "expected text"),
        ({"model": "m", "parallel": 2}, "this is for a `cmd`"),
        ({"model": "m", "ready": "/x"}, "this is for a `cmd`"),
        ({"model": "m", "paths": ["/x"]}, "this is for a `cmd`"),
    ],
)
def test_a_wrong_command(launch, said):
    assert said in errors({"backends": [{"name": "w", "launch": launch}]})[0]


@pytest.mark.parametrize("probe", ["/", "/health/liveliness?a=b", "never"])
def test_how_a_url_is_probed(probe):
    assert (backend(url="http://box", probe=probe).probe, backend(url="http://box").probe) == (probe, "/health")


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_url_with_an_impossible_port(port):
    """A URL's port is one that can be connected to."""
    assert "port from 1 to 65535" in errors({"backends": [{"url": f"http://box:{port}"}]})[0]


@pytest.mark.parametrize(
    ("models", "kept"),
    [(["a", "b"], {"a": "a", "b": "b"}), ({"a": "x/A"}, {"a": "x/A"}), ([7], {"7": "7"}), (None, {}), ([], {})],
)
def test_models_are_a_list_or_a_mapping(models, kept):
    """Both forms become a mapping from the public to the known name."""
    assert list(backend(**REMOTE, models=models).models.items()) == list(kept.items())


def test_a_launched_backend_serves_its_own_name():
    """Without models, a launched backend serves one of its own name."""
    assert dict(backend(**LAUNCHED).models) == {"demo": "demo"}
    assert dict(backend(**LAUNCHED, models=["x"]).models) == {"x": "x"}


def test_arguments_keep_their_types():
    """Arguments are text, numbers, bools, null or lists; words of the environment are read if unquoted."""
    args = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": None, "f": [1, "y"]}
    args |= {"g": FromEnvironment("7"), "h": FromEnvironment("7", unquoted=False)}
    launch = backend(name="demo", launch={"model": "m", "args": args, "env": {"N": 0, "E": ""}}).launch
    assert launch is not None
    assert dict(launch.args) == {**args, "f": (1, "y"), "g": 7, "h": "7"}
    assert dict(launch.env) == {"N": "0", "E": ""}


def test_values_from_the_environment_fit_their_keys():
    """Digits are a number or text as the key wants; nothing at all is as good as left out."""
    made = backend(
        url="http://box",
        api_key=FromEnvironment("123"),
        max_in_flight=FromEnvironment("4"),
        weight=FromEnvironment("2"),
    )
    assert (made.api_key, made.max_in_flight, made.weight) == (SecretStr("123"), 4, 2.0)
    empty = backend(url="http://box", api_key=FromEnvironment(""), max_in_flight=FromEnvironment(""))
    assert (empty.api_key, empty.max_in_flight) == (None, None)


def _launch(**keys: object) -> LaunchConfig:
    launch = backend(name="demo", launch={"model": "m", **keys}).launch
    assert launch is not None
    return launch


@pytest.mark.parametrize(
    ("written", "memory"),
    [
        ("6GiB", 6 << 30),
        (0, 0),
        (FromEnvironment("1024"), 1024),
        ({"ram": "1GiB", "gpu": "6GiB"}, {"ram": 1 << 30, "gpu": 6 << 30}),
        ({"gpu": 0}, {"gpu": 0}),
        (None, None),
        (FromEnvironment(""), None),
    ],
)
def test_memory_that_a_person_knows(written, memory):
    """For all devices, or by kind of device; nothing at all means that it is learned. It is shown as it was written."""
    launch = _launch(memory=written)
    assert launch.memory == memory
    assert _launch(**launch.model_dump(mode="json", include={"memory"})) == launch


@pytest.mark.parametrize(
    ("written", "gpus"),
    [("auto", "auto"), (0, 0), (2, 2), (FromEnvironment("2"), 2), ([1, 0], (1, 0)), ([FromEnvironment("3")], (3,))],
)
def test_gpus_that_a_person_chooses(written, gpus):
    """How many, or which ones."""
    launch = _launch(gpus=written)
    assert launch.gpus == gpus
    assert _launch(**launch.model_dump(mode="json", include={"gpus"})) == launch


def test_any_gpus_of_those_that_the_environment_names():
    """`auto` leaves the choice to the variable."""
    assert _launch(gpus="auto", env={"CUDA_VISIBLE_DEVICES": "1"}).gpus == "auto"


def test_a_pinned_model_stays_loaded():
    """That it is never unloaded for being idle may be written, too."""
    assert _launch(pinned=True, unload_after="never").pinned


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ({}, "backends[0].launch: Value error, a backend has either `url`"),
        ({**REMOTE, **LAUNCHED}, "backends[0].launch: Value error, a backend has either `url`"),
        ({**REMOTE, "router": "http://b"}, "backends[0].launch: Value error, a backend has either `url`"),
        ({**REMOTE, "admin_key": "k"}, "backends[0].admin_key: Value error, this is for a `router`"),
        ({"router": "http://b", "probe": "never"}, "backends[0].probe: Value error, this is for a `url`"),
        ({"router": "b:80"}, "backends[0].router: Value error, expected http://host:port"),
        ({"launch": {"model": "m"}}, "backends[0].name: Value error, a launched backend needs a name"),
        ({**LAUNCHED, "name": "a/b"}, "backends[0].name: Value error, expected a name of letters"),
        ({**LAUNCHED, "name": ["a"]}, "backends[0].name: Value error, expected text, got {got}"),
        ({**REMOTE, "api_key": {}}, "backends[0].api_key: Value error, expected text, got {got}"),
        ({**LAUNCHED, "name": ".."}, "backends[0].name: Value error, expected a name of letters"),
        ({**LAUNCHED, "models": []}, "backends[0].models: Value error, a launched backend serves at least one"),
        ({**REMOTE, "models": ["a", "a"]}, "backends[0].models[1]: {got} is listed twice"),
        ({**REMOTE, "models": ["a*"]}, "backends[0].models[0]: a model's name can't have a *"),
        ({**REMOTE, "models": {"a*": "a"}}, "backends[0].models['a*']: a model's name can't have a *"),
        ({**REMOTE, "models": {"a": []}}, "backends[0].models.a: expected text, got {got}"),
        ({**REMOTE, "models": {"": "a"}}, "backends[0].models['']: a name here must be printable text"),
        ({**REMOTE, "models": {"a": [], "b\n": "b"}}, "backends[0].models.a: expected text, got {got}"),
        ({**REMOTE, "models": "a"}, "backends[0].models: Value error, expected a mapping"),
        ({**REMOTE, "models": [" "]}, "backends[0].models[0]: expected text, got an empty one"),
        ({**REMOTE, "models": ["a\nb"]}, "backends[0].models[0]: expected one line of printable text"),
        ({**REMOTE, "models": [True]}, "backends[0].models[0]: expected text, got {got}; put it in quotes"),
        ({**REMOTE, "weight": 0}, "backends[0].weight: Input should be greater than 0"),
        ({**REMOTE, "weight": math.nan}, "backends[0].weight: Value error, expected a number"),
        ({**REMOTE, "weight": True}, "backends[0].weight: Value error, expected a number"),
        ({**REMOTE, "max_in_flight": 1.5}, "backends[0].max_in_flight: Value error, expected a whole number"),
    ],
)
def test_a_wrong_backend(entry, error):
    """Each rule of a backend has its error, at its key."""
    assert errors({"backends": [entry]})[0].startswith(error)


@pytest.mark.parametrize(
    ("launch", "error"),
    [
        ({"model": {"vlm": "x"}}, "model.vlm: is not an engine"),
        ({"model": {}}, "model: Value error, expected a path or a hub id"),
        ({"model": {"mlx": 1.5}}, "model.mlx: expected text"),
        ({"model": "m", "replicas": 65}, "replicas: Input should be less than"),
        ({"model": "m", "args": {"a": {"b": 1}}}, "args.a: expected text, a number"),
        ({"model": "m", "args": {"vllm": 1}}, "args.vllm: is an engine: below it stand options for it alone"),
        ({"model": "m", "args": {"vllm": {"a": {"b": 1}}}}, "args.vllm.a: expected text, a number"),
        ({"model": "m", "args": {"a": [1, [2]]}}, "args.a[1]: expected text, a number"),
        ({"model": "m", "args": {"a": [None]}}, "args.a[0]: expected text, a number, true or false"),
        ({"model": "m", "args": {"a": math.inf}}, "args.a: expected a finite number"),
        ({"model": "m", "args": {"a": "\0"}}, "args.a: a program can't be given this text"),
        ({"model": "m", "env": {"A": True}}, "env.A: expected text; put it in quotes"),
        ({"model": "m", "env": {"A": "\ud800"}}, "env.A: a program can't be given this text"),
        ({"model": "m", "memory": "a lot"}, "memory: Value error, expected a size"),
        ({"model": "m", "memory": "2000TiB"}, "memory: Value error, must be from 0 to 1024TiB, got {got}"),
        ({"model": "m", "memory": True}, "memory: Value error, expected a size"),
        ({"model": "m", "memory": {}}, "memory: Value error, expected a size, or one for ram or gpu"),
        ({"model": "m", "memory": {"vram": "1GiB"}}, "memory.vram: unknown key; known here: ram or gpu"),
        ({"model": "m", "memory": {"ram": "1GiB", "gpu": "x"}}, "memory.gpu: expected a size"),
        ({"model": "m", "gpus": "all"}, "gpus: Value error, expected auto, how many GPUs, or a list"),
        ({"model": "m", "gpus": -1}, "gpus: Value error, must be from 0 to 64"),
        ({"model": "m", "gpus": []}, "gpus: Value error, an empty list: write 0"),
        ({"model": "m", "gpus": [0, 0]}, "gpus[1]: {got} is listed twice"),
        ({"model": "m", "gpus": [0, 64]}, "gpus[1]: expected the number of a GPU, from 0 to 63"),
        ({"model": "m", "gpus": ["a"]}, "gpus[0]: expected a whole number"),
        (
            {"model": "m", "gpus": 1, "env": {"CUDA_VISIBLE_DEVICES": "0"}},
            "gpus: Value error, env.CUDA_VISIBLE_DEVICES",
        ),
        ({"model": "m", "gpus": [0], "env": {"ROCR_VISIBLE_DEVICES": "0"}}, "gpus: Value error, env.ROCR_VISIBLE"),
        ({"model": "m", "pinned": True, "unload_after": "5m"}, "pinned: Value error, a pinned model stays loaded"),
        ({"model": "m", "engine": 5}, "engine: Value error, {got} is not an engine; expected auto"),
    ],
)
def test_a_wrong_launch(launch, error):
    """Each rule of a launch has its error, at its key."""
    assert errors({"backends": [{"name": "demo", "launch": launch}]})[0].startswith(f"backends[0].launch.{error}")


@pytest.mark.parametrize(
    ("entry", "key", "says"),
    [
        ({"url": "http://a", "tls": {"ca": "a.pem"}}, "tls", "this is for a url that begins with https://"),
        ({"name": "a", "launch": {"model": "m"}, "tls": {"verify": False}}, "tls", "this is for a `url`"),
        ({"url": "https://a", "tls": {"cert": "a.crt"}}, "key", "`cert` and `key` go together: one is missing"),
        ({"url": "https://a", "tls": {"key": "a.key"}}, "key", "`cert` and `key` go together: one is missing"),
        ({"url": "https://a", "tls": {"verify": False, "ca": "a.pem"}}, "ca", "nothing is checked with it"),
    ],
)
def test_what_tls_is_for(entry, key, says):
    """A URL of https, and files that mean something together."""
    with pytest.raises(ValidationError) as told:
        BackendConfig.model_validate(entry)
    (error,) = told.value.errors()
    assert error["loc"][-1] == key
    assert says in error["msg"]


def test_tls_of_a_url():
    """Verified, unless router.yaml says otherwise."""
    config = BackendConfig.model_validate({"url": "https://a", "tls": {"cert": "a.crt", "key": "a.key"}})
    assert config.tls is not None
    assert (config.tls.verify, config.tls.ca, config.tls.name) == (True, None, None)
