"""What the report shows of `kernel-spectrum` and of `deqlab kernel`."""

from deqlab.experiments.page import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            title="Eigenvalues by rank",
            caption="Of the kernel on the samples, in descending order: spikes stand on the left.",
            rows="eigenvalue",
            x="rank",
            y="eigenvalue",
            x_label="rank",
            y_label="eigenvalue",
            x_scale="log",
            y_scale="log",
            panel_by="data",
        ),
        Chart(
            title="Histogram of the eigenvalues",
            caption="Share of the eigenvalues by size, in bins that grow geometrically.",
            rows="bin",
            x="eigenvalue",
            y="share",
            x_label="eigenvalue",
            y_label="share of eigenvalues",
            x_scale="log",
            panel_by="data",
        ),
        Chart(
            title="Alignment of the leading eigenvectors",
            caption="Length of each in the space of the exact leading ones; 1 is inside.",
            rows="leading",
            x="rank",
            y="alignment",
            x_label="rank",
            y_label="alignment",
            panel_by="data",
        ),
    ),
    tables=(
        Table(
            title="Against the exact kernel, and what a network costs",
            caption="Relative spectral error, largest relative error of a leading eigenvalue, "
            "least alignment, median relative error of an eigenvalue; seconds for the spectrum; "
            "cost of a network of finite width on all samples.",
            rows="spectrum",
            by="data",
            columns=(
                Column(field="error", label="error", format="number", better="lower"),
                Column(
                    field="leading_error",
                    label="leading eigenvalues",
                    format="percent",
                    better="lower",
                ),
                Column(field="alignment", label="alignment", format="number", better="higher"),
                Column(
                    field="bulk_error",
                    label="median eigenvalue",
                    format="percent",
                    better="lower",
                ),
                Column(field="seconds", label="spectrum", format="seconds", better="lower"),
                Column(field="flops", label="FLOPs", format="si", better="lower"),
                Column(
                    field="inference_seconds",
                    label="inference",
                    format="seconds",
                    better="lower",
                ),
            ),
        ),
        Table(
            title="Leading eigenvalues",
            caption="By data and rank: one for each class, and one for the norms of the samples.",
            rows="leading",
            columns=(
                Column(field="eigenvalue", label="eigenvalue", format="number"),
                Column(field="alignment", label="alignment", format="number", better="higher"),
            ),
            by="which",
        ),
    ),
)
