import re

from app import errors
from app.errors import NextSliceError


def _tree(root: type[NextSliceError]) -> list[type[NextSliceError]]:
    return [root, *(below for child in root.__subclasses__() for below in _tree(child))]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in _tree(NextSliceError)]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


def test_the_drawing_shows_the_tree_that_stands() -> None:
    drawn = set(re.findall(r"\b[A-Z][A-Za-z]+\b", (errors.__doc__ or "").split("A class takes")[0])) - {"Every"}
    assert drawn == {error.__name__ for error in _tree(NextSliceError)}
