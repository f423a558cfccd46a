from launchers.spec import Command


def test_a_programs_environment_is_the_routers_without_what_is_scrubbed_in_any_case():
    command = Command(argv=("engine",), env={"MODE": "new"}, unset=("port", "host"))
    inherited = {"PATH": "/bin", "PORT": "1", "Host": "h", "MODE": "old", "PORTAL": "kept"}
    assert command.environment(inherited) == {"PATH": "/bin", "PORTAL": "kept", "MODE": "new"}


def test_what_is_set_survives_the_scrubbing():
    assert Command(argv=(), env={"SEED": "1"}, unset=("seed",)).environment({"SEED": "2"}) == {"SEED": "1"}
