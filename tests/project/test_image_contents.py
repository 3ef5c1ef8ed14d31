"""`make images` builds anew when, and only when, something in an image has changed."""

import pathlib
import shutil
import subprocess

from cluster_rig import images


def test_an_image_holds_what_git_would_put_into_it() -> None:
    for image in images.IMAGES:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *image.contents]
        known = subprocess.run(command, cwd=images.ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        there = {name for name in known if name and (images.ROOT / name).is_file()}
        assert f"{image.folder}/Dockerfile" in there
        assert set(images.files(image)) == there


def test_a_tree_without_git_has_the_same_contents_and_bytecode_is_none_of_them(tmp_path: pathlib.Path) -> None:
    for image in images.IMAGES:
        for name in images.files(image):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(images.ROOT / name, tmp_path / name)
    bytecode = tmp_path / "contract" / "__pycache__" / "names.pyc"
    bytecode.parent.mkdir(exist_ok=True)
    bytecode.write_bytes(b"bytecode")
    for image in images.IMAGES:
        assert images.files(image, tmp_path) == images.files(image)
    (tmp_path / "contract" / "new.py").touch()
    assert "contract/new.py" in images.files(images.IMAGES[0], tmp_path)
