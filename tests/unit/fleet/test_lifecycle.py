"""How backends come, change and go, with a real plane; engines and probes are the test's."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from launchers.engines import ENGINES
from launchers.states import State
from router.core.catalog import Candidate
from router.core.errors import BadRequestError
from router.core.health import Verdict
from router.core.omissions import Omission
from tests.fakes.fleet import FAILED, RUNNING, URL, Fleet, planned
from tests.running import eventually


@pytest.fixture
async def fleet():
    """Give a fleet that has started; nothing of it may run on."""
    made = Fleet()
    made.life.start()
    yield made
    made.life.abandon()
    made.plane.close()


# Servers elsewhere: which models they serve


@pytest.mark.parametrize(
    ("before", "learned", "after", "serves", "discovers"),
    [
        ([], ["a"], [], {"a"}, True),
        ([], ["a"], ["told"], {"told"}, False),
        (["told"], [], [], set(), True),
        (["told"], [], ["other"], {"other"}, False),
    ],
    ids=["found out stays", "told counts alone", "told no longer", "told another"],
)
async def test_what_a_url_serves_after_a_change(fleet, before, learned, after, serves, discovers):
    """It is asked for its models if none are told, and only then; what it said itself holds until it says other."""
    fleet.life.add(planned(URL, models=before))
    assert fleet.prober.targets["b"].discovers is not bool(before)
    if learned:
        fleet.plane.learn_models(fleet.plane.backends["b"], dict.fromkeys(learned, ""))
    backend = fleet.plane.backends["b"]
    fleet.life.tune(planned(URL, models=after, weight=3), "b")
    assert fleet.models() == serves
    assert fleet.prober.targets["b"].discovers is discovers
    assert fleet.plane.backends["b"] is backend
    assert backend.weight == 3


async def test_what_a_url_has_refused_is_forgotten_with_a_change(fleet):
    """The server may have been upgraded."""
    fleet.life.add(planned(URL, models=["demo"]))
    candidate = Candidate(fleet.plane.backends["b"], "demo")
    omissions, refused = fleet.plane.directory.omissions, frozenset({Omission("top_k")})
    omissions.learn(candidate, refused, 0.0)
    assert omissions.of(candidate, 1.0) == refused
    fleet.life.tune(planned(URL, models=["demo"], weight=3), "b")
    assert not omissions.of(candidate, 1.0)


async def test_a_url_is_ready_as_soon_as_it_is_added(fleet):
    """Its probes decide from there on."""
    fleet.life.add(planned(URL, models=["demo"]))
    assert fleet.plane.pool(fleet.plane.backends["b"]) is not None
    assert fleet.life.members["b"].settled


# Launched engines


async def test_an_engine_gets_nothing_before_it_is_ready(fleet):
    """Its names mean something at once; it starts by itself, as the fleet has."""
    fleet.life.add(planned())
    backend = fleet.plane.backends["demo"]
    assert fleet.supervisors[0].calls == ["start"]
    assert fleet.models("demo") == {"demo"}
    assert fleet.serving is None
    fleet.supervisors[0].says(RUNNING)
    assert fleet.serving is backend
    assert fleet.plane.api_key(backend) == "secret"
    fleet.supervisors[0].says(FAILED)
    assert fleet.serving is None


async def test_people_read_only_what_is_news(fleet):
    """A load's share changes each second."""
    fleet.life.add(planned())
    loading = replace(RUNNING, state=State.STARTING, address=None, detail="starting", coming=True)
    with capture_logs() as logs:
        fleet.supervisors[0].says(loading)
        fleet.supervisors[0].says(replace(loading, share=0.5, is_news=False))
    assert [entry["event"] for entry in logs] == ["engine", "demo: starting"]
    assert fleet.supervisors[0].status.share == 0.5


async def test_before_the_fleet_starts_members_are_only_added():
    """Then all of them start, and it has settled when each serves, or can't."""
    fleet = Fleet()
    fleet.life.add(planned())
    assert fleet.supervisors[0].calls == []
    fleet.life.start()
    assert fleet.supervisors[0].calls == ["start"]
    assert fleet.settled == 0
    fleet.supervisors[0].says(FAILED)
    assert fleet.settled == 1
    fleet.plane.close()


async def test_a_successor_takes_over_when_it_is_ready(fleet):
    """Until then the old one serves; it has files of its own. The old one is stopped, and forgotten."""
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    old = fleet.plane.backends["demo"]
    fleet.life.replace(planned(weight=2), "demo", new_first=True)
    new = fleet.supervisors[1]
    assert (new.files, new.calls) == ("demo~", ["start"])
    assert fleet.serving is old
    new.says(RUNNING)
    assert fleet.serving is not old
    assert fleet.serving is not None
    assert fleet.serving.weight == 2
    await eventually(lambda: not fleet.life.ending)
    assert fleet.supervisors[0].calls == ["start", "stop"]
    assert fleet.life.everybody == [fleet.life.members["demo"]]
    fleet.life.replace(planned(), "demo", new_first=True)
    assert fleet.supervisors[2].files == "demo"


async def test_a_successor_that_fails_leaves_the_old_one_serving(fleet):
    """A further one takes its place, and then the old one's."""
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    old = fleet.plane.backends["demo"]
    fleet.life.replace(planned(), "demo", new_first=True)
    fleet.supervisors[1].says(FAILED)
    assert fleet.serving is old
    fleet.life.replace(planned(), "demo", new_first=True)
    await eventually(lambda: not fleet.life.ending)
    assert fleet.supervisors[1].calls == ["start", "stop"]
    assert fleet.serving is old
    fleet.supervisors[2].says(RUNNING)
    await eventually(lambda: not fleet.life.ending)
    assert fleet.supervisors[0].calls == ["start", "stop"]


async def test_the_last_words_of_a_failure_are_logged_once(fleet):
    """Each try ends with the same ones, but for numbers; other ones are logged again."""
    fleet.life.add(planned())
    with capture_logs() as logs:
        for lines in (("0x1f: at 12:01", "no model"), ("0x2e: at 12:02", "no model"), ("no memory",)):
            fleet.supervisors[0].says(replace(FAILED, last_lines=lines))
    said = [each["event"] for each in logs if each["log_level"] == "error"]
    assert [each.count("\n    | ") for each in said] == [2, 0, 1]


async def test_no_two_engines_have_the_same_files(fleet):
    """Nor the same turn to start on a GPU, which goes by that name: one that ends would end the other's, too."""
    fleet.life.add(planned())
    fleet.life.replace(planned(), "demo", new_first=True)
    fleet.supervisors[1].says(FAILED)
    fleet.life.replace(planned(), "demo", new_first=True)
    assert [each.files for each in fleet.supervisors] == ["demo", "demo~", "demo~~"]
    fleet.life.remove("demo")
    fleet.life.add(planned())
    assert fleet.supervisors[3].files == "demo~~~"
    await eventually(lambda: not fleet.life.ending)
    fleet.life.replace(planned(), "demo", new_first=False)
    assert fleet.supervisors[4].files == "demo"


async def test_the_old_one_first_where_there_is_no_room_for_both(fleet):
    """The new one starts when the old one has ended what it had in flight; requests wait for it meanwhile."""
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    old = fleet.plane.backends["demo"]
    old.in_flight = 1
    fleet.life.replace(planned(), "demo", new_first=False)
    new = fleet.plane.backends["demo"]
    assert new is not old
    assert new.health.coming
    assert fleet.supervisors[0].calls == ["start"]
    assert fleet.supervisors[1].calls == []
    old.in_flight = 0
    await eventually(lambda: fleet.supervisors[1].calls == ["start"])
    assert fleet.supervisors[0].calls == ["start", "stop"]


async def test_a_successor_that_is_removed_while_it_waits_never_starts(fleet):
    """The one before it ends all the same."""
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    fleet.life.replace(planned(), "demo", new_first=False)
    fleet.life.remove("demo")
    await eventually(lambda: not fleet.life.ending)
    await asyncio.gather(*fleet.life._replacing)
    assert fleet.supervisors[0].calls == ["start", "stop"]
    assert fleet.supervisors[1].calls == ["stop"]
    assert not fleet.plane.backends


async def test_a_removed_one_ends_what_it_has_within_the_drain_timeout(fleet):
    """It gets nothing new at once; its engine runs on until nothing is in flight, or the time is over."""
    fleet.life.drain_timeout = 0.1
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    backend = fleet.plane.backends["demo"]
    backend.in_flight = 1
    fleet.life.remove("demo")
    assert fleet.serving is None
    assert backend.health.verdict is not Verdict.UP
    assert fleet.prober.targets == {}
    await asyncio.sleep(0)
    assert fleet.supervisors[0].calls == ["start"]
    assert [member.backend for member in fleet.life.everybody] == [backend]
    await eventually(lambda: not fleet.life.ending)
    assert fleet.supervisors[0].calls == ["start", "stop"]


async def test_a_predecessor_is_removed_with_its_successor(fleet):
    """Both end."""
    fleet.life.add(planned())
    fleet.supervisors[0].says(RUNNING)
    fleet.life.replace(planned(), "demo", new_first=True)
    fleet.life.remove("demo")
    await eventually(lambda: not fleet.life.ending)
    assert fleet.supervisors[0].calls == fleet.supervisors[1].calls == ["start", "stop"]


async def test_a_tuned_engine_keeps_its_process_and_gets_its_new_times(fleet):
    """The cap and the weight change where it stands."""
    fleet.life.add(planned())
    backend = fleet.plane.backends["demo"]
    now = planned(weight=4, max_in_flight=3)
    fleet.life.tune(now, "demo")
    assert (backend.weight, backend.cap.requests) == (4, 3)
    assert now.launch is not None
    assert fleet.supervisors[0].specs == [now.launch.spec]
    assert len(fleet.supervisors) == 1


async def test_what_clients_may_send_changes_where_the_engine_stands(fleet):
    """Its process goes on."""
    now = planned()
    now = replace(now, launch=replace(now.launch, engine=ENGINES["llama_cpp"]))
    fleet.life.add(now)
    put_right = fleet.plane.backends["demo"].put_right
    body = b'{"messages": [{"role": "user", "content": "a"}], "chat_template": "x"}'
    with pytest.raises(BadRequestError, match="chat_template is private to llama_cpp"):
        put_right("/v1/chat/completions", body)
    opened = now.config.launch.model_copy(update={"allow": ("chat_template",)})
    fleet.life.tune(replace(now, config=now.config.model_copy(update={"launch": opened})), "demo")
    assert put_right("/v1/chat/completions", body) == body
    assert len(fleet.supervisors) == 1


async def test_an_engine_that_was_given_up_is_wanted_once_others_are_asked_for_its_model(fleet):
    """Requests from before don't count."""
    fleet.life.add(planned(URL, models=["demo"]))
    fleet.life.add(planned())
    fleet.plane.backends["b"].ended = 3
    fleet.supervisors[0].says(FAILED)
    assert not fleet.supervisors[0]._is_wanted()
    fleet.plane.backends["b"].ended += 1
    assert fleet.supervisors[0]._is_wanted()
