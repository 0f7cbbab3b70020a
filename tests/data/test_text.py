"""Texts are read as the released search reads them, and errors say where."""

import numpy as np
import pytest

from tests import language_models as lm
from tfnas import artifacts
from tfnas.data import text
from tfnas.data.text import Chunks
from tfnas.data.text import Lengths
from tfnas.data.text import Vocabulary
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """Three short texts; what each alone has is known."""
    (tmp_path / "train.txt").write_text(" the cat <unk> \n the dog \n")
    (tmp_path / "valid.txt").write_text(" a cat \n")
    (tmp_path / "test.txt").write_text(" the bird \n a dog \n")
    return tmp_path


def load(folder, **fields):
    return text.load_text({"name": f"ptb:{folder}", **fields})


def test_words_are_numbered_in_order_of_first_appearance(folder):
    read = load(folder)
    assert read.vocabulary.words == (
        "the", "cat", "<unk>", "<eos>", "dog", "a", "bird"
    )
    assert read.train.tolist() == [0, 1, 2, 3, 0, 4, 3]
    assert read.valid.tolist() == [5, 1, 3]
    assert read.test.tolist() == [0, 6, 3, 5, 4, 3]
    assert read.train.dtype == np.int32


def test_a_limit_keeps_the_first_lines_and_their_words(folder):
    read = load(folder, limit_train=1, limit_test=1)
    assert read.train.tolist() == [0, 1, 2, 3]
    assert len(read.test) == 3
    assert "dog" not in read.vocabulary.words


def test_another_vocabulary_reads_foreign_words_as_unk(folder):
    vocabulary = Vocabulary(("<eos>", "<unk>", "cat"))
    config = {"name": f"ptb:{folder}"}
    read = text.load_text(config, vocabulary)
    assert read.train.tolist() == [1, 2, 1, 0, 1, 1, 0]
    assert read.vocabulary is vocabulary


def test_a_foreign_word_without_unk_names_file_line_and_word(folder):
    vocabulary = Vocabulary(("<eos>", "the", "cat", "<unknown>"))
    with pytest.raises(
        ArtifactError, match=r"train\.txt: line 1: .*no <unk>.*'<unk>'"
    ):
        text.load_text({"name": f"ptb:{folder}"}, vocabulary)


def test_a_text_without_words_is_refused(folder):
    for part in text.PARTS:
        (folder / f"{part}.txt").write_text("\n \n")
    with pytest.raises(ArtifactError, match="expected words between spaces"):
        load(folder)


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda f: (f / "valid.txt").unlink(), r"valid\.txt: No such file"),
        (lambda f: (f / "test.txt").write_text(""), r"test\.txt: expected li"),
        (lambda f: (f / "test.txt").write_bytes(b"\xff"), "not UTF-8"),
    ],
)
def test_a_broken_file_is_named(folder, break_it, message):
    break_it(folder)
    with pytest.raises(ArtifactError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["ptb:absent", "digits", "ptb"])
def test_the_name_must_be_that_of_a_folder(name):
    with pytest.raises(ConfigError, match=f"ptb:<dir>.*name={name}"):
        text.load_text({"name": name})


def test_a_vocabulary_comes_back_from_its_file(tmp_path):
    vocabulary = Vocabulary(("<eos>", "<unk>", "café", "N"))
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary


@pytest.mark.parametrize("words", [[], "cat", [1], ["a", "a"], None])
def test_a_wrong_vocabulary_file_is_refused(tmp_path, words):
    artifacts.write_json(
        tmp_path / "v.json", {"format": text.FORMAT, "words": words}
    )
    with pytest.raises(ArtifactError, match=r"v\.json: field `words"):
        Vocabulary.load(tmp_path / "v.json")


def test_columns_follow_the_text_down():
    table = text.columns(np.arange(11, dtype=np.int32), 3, "train")
    np.testing.assert_array_equal(table, [[0, 3, 6], [1, 4, 7], [2, 5, 8]])


def test_a_batch_longer_than_the_text_is_refused():
    numbers = np.arange(11, dtype=np.int32)
    assert len(text.columns(numbers, 5, "train")) == 2
    with pytest.raises(ConfigError, match="valid text.*11 words, batch_size=6"):
        text.columns(numbers, 6, "valid")


@pytest.mark.parametrize("rows", [2, 36, 37, 500])
@pytest.mark.parametrize("std", [0.0, 5.0])
def test_the_steps_of_an_epoch_cover_every_row_once(rows, std):
    lengths = Lengths(std=std).draw(rows, seed=0, epoch=0)
    assert sum(lengths) == rows - 1
    assert min(lengths) >= 1


def test_lengths_are_those_of_the_recipes():
    proxy = Lengths().draw(200_000, 0, 0)[:-1]
    assert set(proxy) == {35, 17}
    assert np.mean(np.array(proxy) == 17) == pytest.approx(0.05, abs=0.01)
    final = np.array(Lengths(std=5.0).draw(400_000, 0, 0)[:-1])
    assert final.min() >= 5 and final.max() <= 55
    # Half a step is lost on average where numbers are cut to integers.
    assert final.mean() == pytest.approx(0.95 * 34.5 + 0.05 * 17, abs=0.3)
    usual = Lengths(short=0.0, std=5.0).draw(400_000, 0, 0)[:-1]
    assert np.std(usual) == pytest.approx(5, abs=0.1)


def test_lengths_depend_on_seed_epoch_and_step_alone():
    rule = Lengths(std=5.0)
    one = rule.draw(2000, 1, 2)
    assert one == rule.draw(2000, 1, 2)
    assert rule.draw(4000, 1, 2)[: len(one) - 1] == one[:-1]
    assert one != rule.draw(2000, 1, 3)
    assert one != rule.draw(2000, 2, 2)


def test_chunks_give_each_word_and_the_one_after_it():
    numbers = np.arange(23, dtype=np.int32)
    table = text.columns(numbers, 2, "train")  # 11 rows
    chunks = Chunks(table, [4, 1, 5])
    assert len(chunks) == 10
    assert chunks.num_batches(2) == 3
    read = list(chunks.batches(2, seed=0, epoch=0).as_numpy_iterator())
    words = np.concatenate([words for words, _ in read], 1)
    after = np.concatenate([a.reshape(2, -1) for _, a in read], 1)
    np.testing.assert_array_equal(words, table[:-1].T)
    np.testing.assert_array_equal(after, words + 1)
    assert [len(a) for _, a in read] == [8, 2, 10]


def test_vectors_of_known_words_are_read(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("cat 1 2.5\nhorse 9 9\nthe -1 0\n")
    vectors = text.read_vectors(path, Vocabulary(("the", "a", "cat")), 2)
    assert {i: v.tolist() for i, v in vectors.items()} == {
        2: [1, 2.5], 0: [-1, 0]
    }


@pytest.mark.parametrize("line", ["cat 1", "cat 1 x", "cat 1 nan"])
def test_a_vector_of_another_form_is_refused(tmp_path, line):
    path = tmp_path / "vectors.txt"
    path.write_text(f"the 0 0\n{line}\n")
    with pytest.raises(ArtifactError, match=r"vectors\.txt: line 2"):
        text.read_vectors(path, Vocabulary(("the", "cat")), 2)


def test_the_digest_tells_texts_apart(folder, tmp_path):
    before = load(folder).digest
    assert load(folder).digest == before
    (folder / "test.txt").write_text(" the bird \n a cat \n")
    assert load(folder).digest != before


def test_the_grammar_of_the_tests_is_a_text(tmp_path):
    read = text.load_text({"name": lm.write_text(tmp_path / "grammar")})
    assert len(read.vocabulary) == 8


def test_the_penn_treebank_has_the_published_sizes(shared_data):
    if not (shared_data / "ptb").is_dir():
        pytest.skip("needs ../shared/data/ptb")
    config = {"name": f"ptb:{shared_data / 'ptb'}"}
    whole = text.load_text(config)
    sizes = [len(p) for p in (whole.train, whole.valid, whole.test)]
    assert sizes == [929_589, 73_760, 82_430]
    assert len(whole.vocabulary) == 10_000


def test_the_proxy_has_the_published_sizes(shared_data):
    if not (shared_data / "ptb").is_dir():
        pytest.skip("needs ../shared/data/ptb")
    proxy = text.load_text(
        {"name": f"ptb:{shared_data / 'ptb'}", "limit_train": 4000,
         "limit_valid": 300, "limit_test": 300}
    )
    sizes = [len(p) for p in (proxy.train, proxy.valid, proxy.test)]
    assert sizes == [88_832, 7_060, 6_642]
    assert len(proxy.vocabulary) == 7_002
    assert len(text.columns(proxy.train, 128, "train")) == 694
    assert len(text.columns(proxy.valid, 256, "valid")) == 27
