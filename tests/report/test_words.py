"""The sentences of the page: headline, costs, warnings and the caption of the figure."""

import html
from collections.abc import Callable
from pathlib import Path

import pytest

from mutransfer.report import Page, write_report
from mutransfer.studies import Runs
from tests.records import section_of

Write = Callable[..., Page]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a page of these sections."""
    return lambda *sections: write_report(tmp_path, sections)


def text(page: Page) -> str:
    return html.unescape(page.path.read_text()).replace("\N{NO-BREAK SPACE}", " ")


def test_the_headline_has_the_planted_drifts(write: Write, widths: Runs, depths: Runs) -> None:
    width, depth = write(section_of(widths)).headline, write(section_of(depths)).headline
    assert width == (
        "From width 32 to 512 the best rate moves -3.2 octaves under sp and +0.1 under default."
    )
    assert depth.startswith("From depth 2 to 8 the best rate moves -2.0 octaves under sp")
    assert write(section_of(widths), section_of(depths)).headline == f"{width} {depth}"


def test_titles_distinguish_studies_of_one_axis(write: Write, widths: Runs) -> None:
    page = write(section_of(widths, title="MLP"), section_of(widths, title="GPT"))
    assert page.headline.startswith("MLP: From width 32") and " GPT: From width 32" in page.headline


def test_a_rule_without_optimum_is_named_and_leads_the_warnings(
    write: Write, unbracketed: Runs
) -> None:
    section = section_of(unbracketed)
    page = write(section)
    (refusal,) = section.refusals
    warnings = [
        f"{transfer.rule}: {warning}"
        for transfer in section.transfers.granted
        for warning in transfer.warnings
    ]
    places = [text(page).index(warning) for warning in (refusal.reason, *warnings)]
    assert "under sp is not known" in page.headline
    assert places == sorted(places)


def test_a_refusal_beyond_the_sweep_is_about_the_target(write: Write, widths: Runs) -> None:
    page = write(section_of(widths, {"width": 2**13}))
    assert page.headline == (
        "From width 32 to 512 the best rate moves +0.1 octaves under default and -3.2 under sp. "
        "The best rate at width 8192, depth 4 under sp is not known: see the warnings."
    )


def test_a_size_without_optimum_leaves_the_drift_unknown(write: Write, unbracketed: Runs) -> None:
    headline = write(section_of(unbracketed, {"width": 2**13})).headline
    assert "under sp is not known" in headline and headline.count("under sp") == 1


def test_the_cost_of_the_smallest_sizes_rate_is_named(write: Write, widths: Runs) -> None:
    section = section_of(widths)
    regret = section.transfers["default"].carried.value
    assert (
        f"At width 512, the best rate of width 32 diverges under sp and gives away {regret:.3f} ["
    ) in text(write(section))


def test_the_advice_says_how_sure_it_is(write: Write, widths: Runs) -> None:
    section = section_of(widths, {"width": 1024})
    page = text(write(section))
    for each in section.transfers.granted:
        low, high = each.intervals["lr"]
        assert (
            f"{each.rule}: {each.advice}. The 95% interval is lr {low:.2g} to {high:.2g};" in page
        )
        assert f"is {each.regret.value:.2g} in loss, at most {each.regret.high:.2g}" in page
        assert str(each.extra_steps) in page
        assert f"the drift is {each.drift['width']} octaves per doubling of width, " in page
    assert "beyond 0.1" in page


def test_both_axes_are_named_where_both_vary(write: Write, widths: Runs) -> None:
    rows = widths.rows + [{**row, "depth": 8} for row in widths.rows]
    headline = write(section_of(Runs(header={}, rows=rows))).headline
    assert headline.startswith("From width 32, depth 4 to width 512, depth 8 the best")


def test_the_caption_says_what_the_intervals_hold(write: Write, widths: Runs) -> None:
    page = text(write(section_of(widths)))
    assert "Intervals have in them the noise of 3 seeds, the misfit of the curve" in page


def test_the_best_beta_of_one_size_has_the_digits_that_tell_it_from_1(write: Write) -> None:
    rows = [
        {"rule": "mup", "width": 64, "beta2": 1 - 2.0**-octave, "seed": seed}
        | {"loss": 3 + 0.03 * (octave - 10) ** 2 + 0.001 * seed}
        for octave in range(6, 14)
        for seed in range(3)
    ]
    runs = Runs(header={"axes": ["width"], "hyperparameters": ["beta2"]}, rows=rows)
    assert write(section_of(runs)).headline == "At width 64 the best beta2 is 0.99902 under mup."
