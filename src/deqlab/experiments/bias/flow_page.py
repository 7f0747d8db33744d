"""What the report shows of `diagonal-flow`."""

from deqlab.experiments.page import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            title="Density of the limit against the start",
            caption="Participation ratio of the coefficients; all start at s (1, .., 1).",
            rows="point",
            x="scale",
            y="density",
            x_label="coefficients s at the start",
            y_label="density of the limit",
            x_scale="log",
        ),
        Chart(
            title="Distance of the flow from the predicted limit",
            caption="Relative; the prediction solves a constrained minimisation.",
            rows="point",
            x="scale",
            y="prediction_error",
            x_label="coefficients s at the start",
            y_label="relative distance",
            x_scale="log",
            y_scale="log",
        ),
    ),
    tables=(
        Table(
            title="Closed form against flow and training",
            caption="Worst start of each seed; trained from s = 1 (w = 0) by gradient descent, "
            "its coefficients measured as answers of the network.",
            rows="summary",
            columns=(
                Column(field="kkt", label="KKT residual", format="number"),
                Column(field="prediction_error", label="flow, distance", format="number"),
                Column(field="drift", label="drift of the conserved", format="number"),
                Column(field="trained_error", label="trained, distance", format="percent"),
                Column(field="trained_steps", label="steps", format="integer"),
                Column(field="residual", label="solve residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
            ),
        ),
        Table(
            title="Density from the usual start",
            caption="DEQ w = 0; with input weights u = 0; regression 0; net u = v = 0.1.",
            rows="summary",
            columns=(
                Column(field="usual_scale", label="start s", format="number"),
                Column(field="usual_density", label="density", format="number"),
            ),
        ),
        Table(
            title="Density from equal starts",
            caption="By model and start.",
            rows="point",
            columns=(Column(field="density", label="density", format="number"),),
            by="scale",
        ),
    ),
)
