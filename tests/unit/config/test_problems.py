from router.config.problems import did_you_mean, dotted, either, shortened


def test_words_of_messages():
    """Paths, choices, near words and long values read as people would write them."""
    assert dotted(("a", 0, "b-c", "d.e")) == "a[0].b-c['d.e']"
    assert (either(["a"]), either(["a", "b", "c"])) == ("a", "a, b or c")
    assert (did_you_mean("PROT", ["port"]), did_you_mean("x", ["port"])) == ("port", None)
    assert len(shortened("x" * 100)) == 60
