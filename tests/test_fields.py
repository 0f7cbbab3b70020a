"""Fields of a file: the value, or an error that names file and field."""

import re

import pytest

from tfnas import fields
from tfnas.errors import ArtifactError
from tfnas.errors import ConfigError
from tfnas.fields import Fields

VALUE = {
    "n": 3, "x": 0.5, "huge": 10**400, "names": ["a", "b"], "gap": None,
    "inner": {"deep": {"n": 0}}, "rows": [{"n": 1}, {"n": "two"}],
    "text": "a\x1b[31mb",
}
FILE = Fields(VALUE, "a.json")


def test_values_that_follow_their_rule_come_back():
    assert FILE.need("n", fields.whole(1, 3)) == 3
    assert FILE.need("x", fields.SHARE) == 0.5
    assert FILE.each("names", fields.one_of(("a", "b"))) == ("a", "b")
    assert FILE.need("gap", fields.optional(fields.TEXT)) is None
    assert FILE.section("inner").section("deep").need("n", fields.NUMBER) == 0


@pytest.mark.parametrize(
    "ask, message",
    [
        (lambda f: f.need("n", fields.whole(4)),
         "`n` must be an integer, at least 4. Received: 3"),
        (lambda f: f.need("gone", fields.NUMBER),
         "`gone` must be a number. Received: None"),
        (lambda f: f.need("huge", fields.NUMBER), "`huge` must be a number"),
        (lambda f: f.need("n", fields.one_of((3.0,))), "`n` must be 3.0"),
        (lambda f: f.each("names", fields.one_of(("a",))),
         "`names[1]` must be 'a'. Received: 'b'"),
        (lambda f: f.each("gap", fields.TEXT), "`gap` must be a list, not"),
        (lambda f: [row.number("n") for row in f.sections("rows")],
         "`rows[1].n` must be a number. Received: 'two'"),
        (lambda f: f.section("names"), "`names` must be an object"),
        (lambda f: f.section("inner").section("deep").need("n", fields.TEXT),
         "`inner.deep.n` must be a text. Received: 0"),
        (lambda f: f.section("inner").only(("n",)),
         "`inner.deep` must be one of ('n',)"),
        (lambda f: f.text("n"), "`n` must be a text"),
    ],
)
def test_others_are_refused_by_file_and_field(ask, message):
    expected = re.escape(f"a.json: field {message}")
    with pytest.raises(ArtifactError, match=f"^{expected}"):
        ask(FILE)


def test_what_a_file_does_not_tell_is_unknown():
    assert FILE.number("gone") is None
    assert FILE.number("huge") is None
    assert FILE.text("gap") == ""
    assert FILE.sequence("gone") == []
    assert FILE.section("gone").values == {}


def test_text_holds_nothing_that_commands_a_terminal():
    assert FILE.text("text") == "a?[31mb"


def test_wrong_values_are_not_shown_at_length():
    with pytest.raises(ArtifactError) as caught:
        Fields({"a": [1.5] * 10_000}, "a.json").need("a", fields.TEXT)
    assert len(str(caught.value)) < 200


def test_sections_of_a_config_may_leave_fields_out():
    rules = {"lr": fields.NOT_NEGATIVE, "epochs": fields.whole(1)}
    fields.check_section({"lr": 0}, rules, "train")
    with pytest.raises(
        ConfigError, match=r"`train.lr` must be .* Received: train.lr=-1"
    ):
        fields.check_section({"lr": -1, "epochs": 0}, rules, "train")
