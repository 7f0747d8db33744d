"""What the report shows of `steep-weights`."""

from deqlab.experiments.page import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            title="Largest infinity norm where the error is within the tolerance",
            caption="max |W|_inf of all matrices, when training ends; networks that do not get "
            "there are not drawn. The bounds are those of FNNs of any width.",
            rows="point",
            x="d",
            y="norm",
            x_label="d, for a step of width 2^-d",
            y_label="largest infinity norm",
            y_scale="log",
        ),
        Chart(
            title="Largest error at the end",
            caption="On the test points, half of them within four steps' width of the step.",
            rows="point",
            x="d",
            y="error",
            x_label="d, for a step of width 2^-d",
            y_label="largest error",
            y_scale="log",
        ),
    ),
    tables=(
        Table(
            title="At each steepness",
            caption="The residual and the share that converged are those of the test points; a "
            "start above 1 is that of a network that missed before from other weights.",
            rows="point",
            by="d",
            columns=(
                Column(field="norm", label="norm", format="number", better="lower"),
                Column(field="error", label="largest error", format="number"),
                Column(field="test_loss", label="test loss", format="number"),
                Column(field="start", label="start", format="integer"),
                Column(field="steps", label="steps", format="integer"),
                Column(field="residual", label="relative residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
            ),
        ),
    ),
)
