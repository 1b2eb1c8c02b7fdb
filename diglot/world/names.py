"""Invented names of people, towns, regions, rivers and pets, with one fixed Arabic transliteration each."""

from typing import NamedTuple

from diglot.world.tables import read_table


class Name(NamedTuple):
    """A proper name in both scripts; `short` is the first name of a person, else the name itself."""

    latin: str
    arabic: str
    short_latin: str
    short_arabic: str
    gender: str

    @classmethod
    def single(cls, latin: str, arabic: str, gender: str) -> "Name":
        """A name of one word."""
        return cls(latin, arabic, latin, arabic, gender)


_TABLES = read_table("names")


def _rows(key: str) -> list[tuple[str, str]]:
    return list(_TABLES[key].items())


# (Latin, Arabic) in the order of the file, by which the world draws them
MEN, WOMEN, FAMILIES = _rows("men"), _rows("women"), _rows("families")
TOWNS, REGIONS, RIVERS, PETS = _rows("towns"), _rows("regions"), _rows("rivers"), _rows("pets")
