"""What the report shows of `feature-density`."""

from deqlab.experiments.page import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            kind="heatmap",
            title="Feature magnitudes",
            caption="Mean share of each feature in the answer on unseen points, in descending "
            "order, relative to the largest.",
            rows="feature",
            x="rank",
            y="magnitude",
            x_label="feature, by rank",
            y_label="magnitude",
        ),
        Chart(
            title="Feature magnitudes by rank",
            caption="The same numbers: the flatter, the denser.",
            rows="feature",
            x="rank",
            y="magnitude",
            x_label="feature, by rank",
            y_label="magnitude, of the largest",
        ),
    ),
    tables=(
        Table(
            title="Density and generalisation",
            caption="Participation ratio of the shares in the answer, and of the features "
            "without their weights; mean squared errors.",
            rows="summary",
            columns=(
                Column(field="density", label="density", format="number"),
                Column(field="activity_density", label="of features", format="number"),
                Column(field="train_loss", label="train loss", format="number"),
                Column(field="seen_loss", label="seen loss", format="number", better="lower"),
                Column(field="gotu_error", label="GOTU error", format="number", better="lower"),
                Column(field="steps", label="steps", format="integer"),
                Column(field="residual", label="residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
            ),
        ),
    ),
)
