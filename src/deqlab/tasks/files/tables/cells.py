"""Numbers as cells of a text have them, with a decimal point or, in some files, a comma."""

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.tables.classes import shown


class Numbers:
    """Reads cells as numbers, and remembers which decimal signs it saw.

    Python's float() reads what numpy and pandas write, to the last bit. It also reads 1_000,
    which is rather a name than a number and is refused.
    """

    def __init__(self, *, commas: bool) -> None:
        self._commas = commas
        self._seen: dict[str, str] = {}  # a decimal sign, and the first cell that has it

    def read(self, cell: str) -> float:
        """Return the number in a cell; ValueError if there is none."""
        if "_" in cell or ("," in cell and "." in cell):
            raise ValueError
        if self._commas and "," in cell:
            self._seen.setdefault(",", cell)
            cell = cell.replace(",", ".")
        elif "." in cell:
            self._seen.setdefault(".", cell)
        return float(cell)

    def reads(self, cell: str) -> bool:
        """Return whether there is a number in a cell."""
        try:
            self.read(cell)
        except ValueError:
            return False
        return True

    def with_point(self, cell: str) -> str:
        """Return a label, with a decimal point if it is a number with a decimal comma."""
        commas = self._commas and "," in cell and is_number(cell)
        return cell.replace(",", ".") if commas else cell

    def notes(self, *, where: str) -> list[str]:
        """Say what the decimal signs are, if they are commas.

        Raises:
            DataError: Both signs were seen; then commas may separate thousands.
        """
        if len(self._seen) == 2:
            point, comma = (shown(self._seen[sign].strip()) for sign in ".,")
            raise DataError(
                f"{where} has numbers with a point ({point}) and with a comma ({comma}), one of "
                "which may separate thousands; write all with a point, and thousands without sign"
            )
        return ["decimal commas"] if "," in self._seen else []


def is_number(cell: str) -> bool:
    """Return whether a cell is a number with a decimal point or a decimal comma."""
    return Numbers(commas=True).reads(cell)
