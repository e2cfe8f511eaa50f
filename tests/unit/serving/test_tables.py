"""Lists as CSV."""

from serving.http.tables import write_csv


def test_write_csv__cells__begin_as_no_formula_and_none_is_empty() -> None:
    row = {"a": "=1+1", "b": 'x,"y"', "c": -3, "d": None, "e": "\t=2"}

    text = write_csv([row], list(row))

    assert text == b'a,b,c,d,e\r\n\'=1+1,"x,""y""",-3,,\'\t=2\r\n'


def test_write_csv__a_later_page__has_no_head() -> None:
    assert write_csv([{"a": 1}], ["a"], with_head=False) == b"1\r\n"
