"""How names become attributes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cottoncandy.browser.base import attribute_names, is_introspection_name, mangle
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
    assert attribute_names(names, {"keys"}) == {
        "a_b": ["a_b"],  # a name that is an attribute unchanged
        "x_DOT_y": ["x_DOT_y"],
        "class_": ["class"],
        "keys_": ["keys"],
        "p_q_r": ["p-q_r", "p_q-r"],
    }


@given(st.lists(st.text("ab-_.1 é", min_size=1, max_size=4), unique=True, max_size=10))
def test_a_name_has_one_attribute(names: list[str]) -> None:
    attributes = attribute_names(names, {"b"})
    found = [name for meant in attributes.values() for name in meant]
    assert set(found) <= set(names)
    assert len(set(found)) == len(found)
    for attribute, meant in attributes.items():
        assert attribute.isidentifier()
        assert attribute != "b"
        if attribute in names:
            assert meant == [attribute]
    for name in names:
        if name.isidentifier() and name != "b" and not is_introspection_name(name):
            assert attributes[name] == [name]


def test_names_that_python_normalizes_are_ambiguous_or_found() -> None:
    ligature, micro, decomposed = "\ufb01le", "\u00b5V", "cafe\u0301"
    assert attribute_names([ligature, "file", micro, decomposed], set()) == {
        "\u03bcV": [micro],
        "caf\u00e9": [decomposed],
        "file": ["file", ligature],
    }
