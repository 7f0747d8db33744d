"""What the report shows of the open problems."""

from deqlab.experiments.page import Chart, Column, Page, Table

_LOSSES = "Networks that no step helps any more stop early."

_COST = (
    "FLOPs a step are N (2 P^2 + 8 M) + P^3 / 3 for Levenberg-Marquardt, with N training points, P "
    "parameters and M multiply-adds"
)

_LEARNED = "Learned is the share of seeds below 1e-6, by its median; the verdict has counts."


def _against_flops(caption: str) -> Chart:
    return Chart(
        kind="scatter",
        title="Test loss against training FLOPs",
        caption=caption,
        rows="summary",
        x="flops",
        y="test_loss",
        x_label="training FLOPs",
        y_label="test loss",
        x_scale="log",
        y_scale="log",
        panel_by="route",
    )


def _over_stages(caption: str) -> Chart:
    return Chart(
        title="Test loss at the end of each stage",
        caption=caption,
        rows="stage",
        x="stage",
        y="test_loss",
        x_label="stage",
        y_label="test loss",
        y_scale="log",
        panel_by="route",
    )


def _networks(caption: str, *measured: Column) -> Table:
    return Table(
        title="Networks by route",
        caption=caption,
        rows="summary",
        columns=(
            Column(field="test_loss", label="test loss", format="number"),
            Column(field="train_loss", label="training loss", format="number"),
            Column(field="learned", label="learned", format="percent"),
            *measured,
            Column(field="parameters", label="parameters", format="integer"),
            Column(field="step_flops", label="FLOPs a step", format="si"),
            Column(field="flops", label="FLOPs in all", format="si"),
            Column(field="residual", label="relative residual", format="number"),
            Column(field="converged", label="converged", format="percent"),
            Column(field="evaluations", label="evaluations", format="integer"),
        ),
    )


SAWTOOTH = Page(
    charts=(
        _against_flops(
            "A panel for each route. The constant function has a loss of 0.083; losses near 1e-26 "
            f"are rounding. {_LOSSES}"
        ),
        _over_stages(
            "On the target of the stage itself, s_1, s_2 .. s_k: the tasks get harder to the right."
        ),
    ),
    tables=(
        _networks(
            f"{_COST}; Adam's are counted as they run. {_LEARNED}",
            Column(field="regions", label="regions", format="integer"),
        ),
    ),
)
"""Of `open-sawtooth`."""

STEEP = Page(
    charts=(
        _against_flops(
            "A panel for each route. At slope 2^20 losses near 1e-19 are rounding, at 2^10 those "
            f"near 1e-25. {_LOSSES}"
        ),
        _over_stages(
            "On the ramp of the stage itself, twice as steep as the one before: the tasks get "
            "harder to the right."
        ),
        Chart(
            kind="scatter",
            title="Test loss against the size of weights",
            caption="A panel for each route; the largest infinity norm, a row sum of |entries|, of "
            "all weight matrices of a network.",
            rows="summary",
            x="norm",
            y="test_loss",
            x_label="largest infinity norm",
            y_label="test loss",
            x_scale="log",
            y_scale="log",
            panel_by="route",
        ),
    ),
    tables=(
        _networks(
            f"{_COST}. {_LEARNED} The bound is the least norm that a feed-forward network of this "
            "depth and error can have.",
            Column(field="error", label="largest error", format="number"),
            Column(field="norm", label="largest norm", format="number"),
            Column(field="bound", label="bound", format="number"),
        ),
    ),
)
"""Of `open-steep`."""
