"""What the report shows of `saliency`."""

from deqlab.experiments.page import Chart, Column, Images, Page, Table

GRID = Images(
    title="The same pictures, and where the networks look",
    caption="The first test images of two classes. Below each, the Grad-CAM map of its true class, "
    "as it is in the feature map (not enlarged by interpolation), over its own maximum: bright is "
    "evidence for the class. The first seed.",
    rows="image",
    line="column",
    column="picture",
)

CURVES = Chart(
    title="Test accuracy while training",
    caption="The residual network is compared at the epoch whose accuracy is nearest to the DEQ's "
    "last one.",
    rows="step",
    x="epoch",
    y="test_accuracy",
    x_label="epoch",
    y_label="test accuracy",
    y_format="percent",
)

SPREAD = Table(
    title="How far the maps are spread",
    caption="Means over the test images; images whose map is zero are left out of entropy and "
    "area. Before training, at the epoch that is compared, and at the last one if it is another.",
    rows="spread",
    columns=(
        Column(field="test_accuracy", label="test accuracy", format="percent"),
        Column(field="epoch", label="epoch", format="integer"),
        Column(field="entropy", label="normalised entropy", format="number"),
        Column(field="area", label="area above half maximum", format="percent"),
        Column(field="density", label="density of the features", format="number"),
        Column(field="empty", label="maps of zeros", format="percent"),
    ),
    by="taken",
)

COST = Table(
    title="The networks",
    caption="Equilibria: of the test images, at the epoch that is compared.",
    rows="summary",
    columns=(
        Column(field="parameters", label="parameters", format="integer"),
        Column(field="converged", label="equilibria found", format="percent"),
        Column(field="residual", label="median relative residual", format="number"),
        Column(field="residual_max", label="worst relative residual", format="number"),
        Column(field="test_evaluations", label="evaluations of f", format="integer"),
        Column(field="seconds", label="training", format="seconds"),
    ),
)

PAGE = Page(charts=(GRID, CURVES), tables=(SPREAD, COST))
