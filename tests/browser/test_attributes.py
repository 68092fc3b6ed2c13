"""How names become attributes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.browser.base import AttributeNames, is_introspection_name, mangle
from tests.cases import each


@each(
    "name, attribute",
    [
        ("plain", "plain"),
        ("sub01_awesome_analysis.grp", "sub01_awesome_analysis_DOT_grp"),
        ("01-first.tar.gz", "NUM_01_first_DOT_tar_DOT_gz"),
        ("a-b", "a_b"),
        (".hidden", "_DOT_hidden"),
        ("é", "é"),
    ],
)
def test_mangle(name: str, attribute: str) -> None:
    assert mangle(name) == attribute


def test_clashes() -> None:
    names = ["a-b", "a_b", "x.y", "x_DOT_y", "p-q_r", "p_q-r", "class", "keys", "__init__", "a b"]
    attributes = AttributeNames.of(names, {"keys"})
    assert attributes.names == {
        "a_b": "a_b",  # a name that is an attribute unchanged
        "x_DOT_y": "x_DOT_y",
        "class_": "class",
        "keys_": "keys",
    }
    assert attributes.ambiguous == {"p_q_r": ("p-q_r", "p_q-r")}


@given(st.lists(st.text("ab-_.1 é", min_size=1, max_size=4), unique=True, max_size=10))
def test_attributes_never_stand_for_two_names(names: list[str]) -> None:
    attributes = AttributeNames.of(names, {"b"})
    assert set(attributes.names.values()) <= set(names)
    assert len(set(attributes.names.values())) == len(attributes.names)
    for attribute, name in attributes.names.items():
        assert attribute.isidentifier()
        assert attribute != "b"
        if attribute in names:
            assert name == attribute
    for name in names:
        if name.isidentifier() and name != "b" and not is_introspection_name(name):
            assert attributes.names[name] == name


def test_names_that_python_normalizes_are_ambiguous_or_found() -> None:
    ligature, micro, decomposed = "\ufb01le", "\u00b5V", "cafe\u0301"
    attributes = AttributeNames.of([ligature, "file", micro, decomposed], set())
    assert attributes.names == {"\u03bcV": micro, "caf\u00e9": decomposed}
    assert attributes.ambiguous == {"file": ("file", ligature)}
