"""How figures are shown to people."""

import pytest

from pipeline.stages.reporting import Summary


@pytest.mark.parametrize(
    ("value", "shown"),
    [(10_000.0, "10,000.00"), (9_987.654, "9,987.65"), (-12_345.6, "-12,345.60"), (0.0123456, "0.01235"),
     (999.94, "999.9"), (4_032, "4,032"), (True, "True")],
)  # fmt: skip
def test_an_amount_of_thousands_is_shown_to_the_cent_and_without_exponent(value: float, shown: str) -> None:
    assert f"equity  {shown}" in Summary("serve", [], {"equity": value}).text()
