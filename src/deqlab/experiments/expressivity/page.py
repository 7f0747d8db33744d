"""What the report shows of `constructions`."""

from deqlab.experiments.page import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            title="Linear regions of exact sawtooths",
            caption="Counted on [0, 1]. The DEQs have width k and 2k, the exact FNN has depth k; "
            "the bounds are the most regions that FNNs of width k and fixed depth can have.",
            rows="sawtooth",
            x="k",
            y="regions",
            x_label="k",
            y_label="linear regions",
            y_scale="log",
        ),
        Chart(
            title="Largest infinity norm against steepness",
            caption="Of all weight matrices, biases left out. The DEQ is a ramp of slope 2^d "
            "exactly; the bounds are the least that an FNN needs to be within 0.1 of it.",
            rows="ramp",
            x="d",
            y="infinity_norm",
            x_label="d",
            y_label="largest infinity norm",
            y_scale="log",
        ),
        Chart(
            title="Linear regions of random networks",
            caption="Counted on [-1, 1], before any training, with the initialisation of "
            "deqlab.nn; the bounds are the most that FNNs of that width can have.",
            rows="random",
            x="width",
            y="regions",
            x_label="width",
            y_label="linear regions",
            x_scale="log",
            y_scale="log",
        ),
    ),
    tables=(
        Table(
            title="Exact sawtooths",
            caption="By construction and k: largest error at random points in float64, regions "
            "counted, and how the equilibria were solved.",
            rows="sawtooth",
            by="k",
            columns=(
                Column(field="error", label="largest error", format="number", better="lower"),
                Column(field="regions", label="regions", format="integer"),
                Column(field="expected", label="2^k", format="integer"),
                Column(field="infinity_norm", label="largest infinity norm", format="number"),
                Column(field="residual", label="residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
                Column(field="evaluations", label="evaluations of f", format="integer"),
            ),
        ),
        Table(
            title="Exact ramps",
            caption="By d: largest error at points half of which are within 4 delta of the step.",
            rows="ramp",
            by="d",
            columns=(
                Column(field="error", label="largest error", format="number", better="lower"),
                Column(field="regions", label="regions", format="integer"),
                Column(field="infinity_norm", label="largest infinity norm", format="number"),
                Column(field="residual", label="residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
                Column(field="evaluations", label="evaluations of f", format="integer"),
            ),
        ),
        Table(
            title="Random networks",
            caption="By width: regions on [-1, 1], and as a share of the most that there can be.",
            rows="random",
            by="width",
            columns=(
                Column(field="regions", label="regions", format="number"),
                Column(field="share_of_bound", label="share of the bound", format="percent"),
            ),
        ),
    ),
)
