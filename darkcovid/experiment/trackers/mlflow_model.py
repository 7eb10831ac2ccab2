"""The classifier of an arm as an MLflow model of its `onnx` flavor, which needs no darkcovid where it is loaded."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkcovid.core.errors import DarkCovidError
from darkcovid.inference.export import example_input, write_classifier
from darkcovid.inference.load import load_fitted
from darkcovid.inference.model_card import NOT_FOR


def log_arm_model(uri: str, mlflow_run: str, run: Path, arm: str, name: str) -> None:
    """Log an arm's classifier with its signature and an input example: (n, c, h, w) pixels in 0..1 to (n, classes) calibrated
    probabilities. The example is a synthetic radiograph.

    Args:
        uri: MLflow's tracking URI.
        mlflow_run: The id of the MLflow run that it belongs to.
        run: The run's folder.
        arm: The arm's name; of several fits the first is logged.
        name: The model's name in MLflow.

    Raises:
        UsageError: The arm has no classifier that can be exported.
        DarkCovidError: A package of the extra `export` is missing, or the exporter fails.
    """
    try:
        import mlflow
        import mlflow.onnx
        import onnx
        import onnxruntime
    except ImportError as error:
        raise DarkCovidError(f"a model needs {error.name}; install `darkcovid[export]`") from None
    from mlflow.models import Model, infer_signature

    fitted = load_fitted(run, arm)
    with tempfile.TemporaryDirectory() as folder, _tracking_uri(uri):
        file = Path(folder) / "model.onnx"
        about = write_classifier(fitted, "onnx", file)
        pixels = example_input(fitted)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (probabilities,) = session.run(None, {"pixels": pixels})
        signature = infer_signature({"pixels": pixels}, {"probabilities": probabilities})
        client = mlflow.MlflowClient(uri)
        experiment = client.get_run(mlflow_run).info.experiment_id
        created = client.create_logged_model(experiment, name, source_run_id=mlflow_run)
        Model.log(
            artifact_path=None,
            model_id=created.model_id,
            flavor=mlflow.onnx,
            run_id=mlflow_run,
            onnx_execution_providers=["CPUExecutionProvider"],
            onnx_model=onnx.load(file),
            signature=signature,
            input_example={"pixels": pixels},
            save_as_external_data=False,
            pip_requirements=[f"onnx=={onnx.__version__}", f"onnxruntime=={onnxruntime.__version__}"],
            metadata={
                "classes": list(fitted.classes),
                "not_for": NOT_FOR,
                "run": run.name,
                "fit": fitted.fit,
                "preparation": about,
            },
        )


@contextmanager
def _tracking_uri(uri: str) -> Iterator[None]:
    """A context with MLflow's own tracking URI, which `Model.log` goes by."""
    import mlflow

    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
