"""Label files are read as people have them."""

import pytest

from tfnas.errors import ArtifactError
from tfnas.labels import read_labels


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"cat\ndog\n", ("cat", "dog")),
        (b"cat\r\ndog\r\n\r\n", ("cat", "dog")),
        (b"\xef\xbb\xbfcat\ndog", ("cat", "dog")),
        (b"C#\n# 1\n", ("C#", "# 1")),
        (b" red panda \nowl\n", ("red panda", "owl")),
        ("Käfer\nMöwe".encode(), ("Käfer", "Möwe")),
        # Separators of Unicode that are not the end of a line in a file.
        ("a\u2028b\nc\x0cd".encode(), ("a\u2028b", "c\x0cd")),
    ],
)
def test_labels_are_the_lines(tmp_path, content, expected):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    assert read_labels(path) == expected


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "nothing"),
        (b"\xef\xbb\xbf\n", "nothing"),
        (b"cat\n\ndog\n", "line 2 is empty"),
        (b"cat\n\xff\xfe\n", "not UTF-8"),
    ],
)
def test_broken_label_files_are_named(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"labels\.txt.*{message}"):
        read_labels(path)
    with pytest.raises(ArtifactError, match=r"absent\.txt"):
        read_labels(tmp_path / "absent.txt")
