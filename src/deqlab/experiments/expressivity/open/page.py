"""What the report shows of `open-sawtooth`."""

from deqlab.experiments.base import Chart, Column, Page, Table

PAGE = Page(
    charts=(
        Chart(
            kind="scatter",
            title="Test loss against training FLOPs",
            caption="A panel for each route. The constant function has a loss of 0.083; losses "
            "near 1e-26 are rounding. Networks that no step helps any more stop early.",
            rows="summary",
            x="flops",
            y="test_loss",
            x_label="training FLOPs",
            y_label="test loss",
            x_scale="log",
            y_scale="log",
            panel_by="route",
        ),
        Chart(
            title="Test loss at the end of each stage",
            caption="On the target of the stage itself, s_1, s_2 .. s_k: the tasks get harder to "
            "the right.",
            rows="stage",
            x="stage",
            y="test_loss",
            x_label="stage",
            y_label="test loss",
            y_scale="log",
            panel_by="route",
        ),
    ),
    tables=(
        Table(
            title="Networks by route",
            caption="FLOPs a step are N (2 P^2 + 8 M) + P^3 / 3 for Levenberg-Marquardt, with N "
            "training points, P parameters and M multiply-adds; Adam's are counted as they run. "
            "Learned is the share of seeds below 1e-6, by its median; the verdict has counts.",
            rows="summary",
            columns=(
                Column(field="test_loss", label="test loss", format="number"),
                Column(field="train_loss", label="training loss", format="number"),
                Column(field="learned", label="learned", format="percent"),
                Column(field="regions", label="regions", format="integer"),
                Column(field="parameters", label="parameters", format="integer"),
                Column(field="step_flops", label="FLOPs a step", format="si"),
                Column(field="flops", label="FLOPs in all", format="si"),
                Column(field="residual", label="relative residual", format="number"),
                Column(field="converged", label="converged", format="percent"),
                Column(field="evaluations", label="evaluations", format="integer"),
            ),
        ),
    ),
)
