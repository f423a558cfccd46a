"""A release is made of a commit, and of nothing beside it."""

import subprocess
from pathlib import Path

import pytest

from scripts.release import tree
from scripts.release.steps import ReleaseError


def git(folder: Path, *words: str) -> None:
    """Run git there."""
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=folder, check=True)  # noqa: S607


@pytest.fixture
def checkout(tmp_path):
    """Give a checkout with one commit."""
    folder = tmp_path / "checkout"
    (folder / "router").mkdir(parents=True)
    (folder / "router/distribution.py").write_text('VERSION: Final = "1.2.3"\n')
    (folder / "CHANGELOG.md").write_text("## [1.2.3]\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "it", "--date=2026-11-30T00:00:00Z")
    return folder


def test_a_commit_has_a_version_and_a_time(checkout, capsys):
    """What builds of it get is the same at any time."""
    found = tree.commit(checkout)
    assert found.version == "1.2.3"
    assert found.environment() == {**tree.commit(checkout).environment(), "SOURCE_DATE_EPOCH": str(found.time)}
    assert capsys.readouterr().out == ""


def test_a_version_without_a_section_of_the_changelog_is_told(checkout, capsys):
    """It isn't refused: a build between two releases has none yet."""
    (checkout / "CHANGELOG.md").write_text("## [Unreleased]\n")
    git(checkout, "commit", "-qam", "more")
    tree.commit(checkout)
    assert "CHANGELOG.md has no section of 1.2.3" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["CHANGELOG.md", "router/new.py"])
def test_a_tree_with_changes_is_refused(checkout, name):
    """Nobody else could build the same."""
    (checkout / name).write_text("changed")
    with pytest.raises(ReleaseError, match=f"changes, which no commit has:\n.* {name}"):
        tree.commit(checkout)


def test_what_is_exported_is_what_the_commit_has(checkout, tmp_path):
    """Neither ignored files nor history."""
    (checkout / ".git/info/exclude").write_text("*.so\n")
    (checkout / "router/x.so").touch()
    found = tree.commit(checkout)
    folder = tree.export(checkout, found, tmp_path / "tree")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "CHANGELOG.md",
        "router/distribution.py",
    }
    assert tree.of_packages(checkout, found) == {"router/distribution.py"}


def test_a_folder_without_git_is_refused(tmp_path):
    """With what git says."""
    with pytest.raises(ReleaseError, match="this is no checkout of git"):
        tree.commit(tmp_path)
