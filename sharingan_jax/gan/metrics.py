"""The table of a step's metrics, from which the step, the records, the plots, the log and TensorBoard take their names."""

from dataclasses import dataclass
from typing import Literal

Quantity = Literal["loss", "answer", "gradient norm"]


@dataclass(frozen=True)
class Metric:
    """One number a step, under `name` in `metrics.jsonl`; `label` is its name in a legend and `log_label` in a log's lines.

    A metric whose `network` is "gen" comes from G's update: at the steps without one it is NaN, and null in the records.
    Metrics of the same `quantity` share the axes of a plot. "answer" is a mean of σ(logit) over a batch.
    """

    name: str
    label: str
    log_label: str
    network: Literal["gen", "disc"]
    quantity: Quantity


METRICS = (
    Metric("loss_d", "D", "Loss_D", "disc", "loss"),
    Metric("loss_g", "G", "Loss_G", "gen", "loss"),
    Metric("d_real", "D(x)", "D(x)", "disc", "answer"),
    Metric("d_fake_before", "D(G(z)), before D's update", "D(G(z))", "disc", "answer"),
    Metric("d_fake_after", "D(G(z)), after it", "D(G(z))", "gen", "answer"),
    Metric("grad_norm_d", "D", "", "disc", "gradient norm"),
    Metric("grad_norm_g", "G", "", "gen", "gradient norm"),
)
"""All metrics of a step, in the order of a log's line. One without a `log_label` is not in that line."""

ADAPTIVE = Metric("augment_probability", "probability of augmentation", "p", "disc", "answer")
"""The probability that images are augmented with at a step, of a run in which it adapts (`augment.target`), and of no other."""

METRIC_NAMES = tuple(metric.name for metric in METRICS)
GEN_METRICS = tuple(metric.name for metric in METRICS if metric.network == "gen")
