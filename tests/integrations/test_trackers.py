"""What TensorBoard and MLflow read back is what the log holds, by the recipes of the docs."""

import math

import pytest

from deqlab.integrations import scalars
from tests.integrations import trained

pytestmark = pytest.mark.slow


def read(folder):
    """Return what TensorBoard itself reads from event files: (step, value) by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def logged():
    return trained.plainly(trained.model(), trained.batches(12), every=4)


def test_tensorboard_reads_the_rows(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    rows = logged()
    with SummaryWriter(tmp_path) as writer:
        for row in rows:
            for name, value in scalars(row).items():
                writer.add_scalar(name, value, row["step"])
    found = read(tmp_path)
    assert found.keys() == scalars(rows[0]).keys()
    for name, values in found.items():  # in float32
        assert values == [(row["step"], pytest.approx(scalars(row)[name])) for row in rows]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow_reads_the_rows(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    rows = logged()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    mlflow.create_experiment("deq", artifact_location=str(tmp_path / "artifacts"))
    mlflow.set_experiment("deq")
    with mlflow.start_run() as run:
        for row in rows:
            mlflow.log_metrics(scalars(row), step=row["step"])
        mlflow.log_metrics(scalars({"layer": "1", "excess": math.nan}), step=99)
    client = mlflow.MlflowClient()
    for name in scalars(rows[0]):
        told = [
            (each.step, each.value) for each in client.get_metric_history(run.info.run_id, name)
        ]
        assert told[: len(rows)] == [(row["step"], scalars(row)[name]) for row in rows]
    assert math.isnan(client.get_metric_history(run.info.run_id, "1/excess")[-1].value)
