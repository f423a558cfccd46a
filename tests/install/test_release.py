"""A release is the same bytes whenever it is built. The compiled wheels take the same way, and minutes."""

import pytest

from scripts.release import archives, tree, wheels
from scripts.release.steps import Toolbox
from tests.install.roots import ran
from tests.running import REPOSITORY


@pytest.mark.timeout(600)
def test_two_builds_of_one_commit_are_the_same(tmp_path):
    """The archive of the sources, and the wheel that is compiled for nothing."""
    checkout = tmp_path / "checkout"
    ran("git", "clone", "-q", REPOSITORY, checkout)
    commit = tree.commit(checkout)
    found = []
    for name in ("one", "other"):
        folder, dist = tmp_path / name, tmp_path / name / "dist"
        folder.mkdir()
        dist.mkdir()
        sources = tree.export(checkout, commit, folder / "tree")
        toolbox = Toolbox(REPOSITORY / ".release", sources, commit.environment())
        wheels.pure(toolbox, archives.sdist(toolbox, sources, commit, dist), dist)
        found.append(archives.sums(dist))
    assert found[0] == found[1]
    assert len(found[0]) == 2
