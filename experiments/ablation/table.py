"""Print the table of a comparison as Markdown, from its report.json.

python -m experiments.ablation.table --report runs/ablation_emblems/report.json
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from sharingan_jax.__main__ import exit_code
from sharingan_jax.files import read_json

SHOWN = (
    "gradients/kid_held_out",
    "random/kid_held_out",
    "gradients/precision",
    "gradients/coverage",
    "gradients/diversity_off_by",
    "flat_noise_off_by",
    "edge_sharpness_off_by",
    "authentic",
    "nearest_ratio",
    "modes_covered",
)


def markdown(report: dict[str, Any]) -> str:
    """Return one row for each measure and variant: mean, difference from the baseline with its interval, adjusted p, words."""
    labels = {measure["name"]: f"{measure['label']} {measure['unit']}".strip() for measure in report["measures"]}
    means = {(each["measure"], each["variant"]): each["mean"] for each in report["summaries"]}
    found = {(each["measure"], each["variant"]): each for each in report["comparisons"]}
    lines = ["| measure | variant | mean | difference [interval] | p | conclusion |", "|---|---|---|---|---|---|"]
    for measure in (name for name in SHOWN if name in labels):
        for variant in (each["name"] for each in report["variants"]):
            mean = means.get((measure, variant))
            cells = [labels[measure], variant, "–" if mean is None else f"{mean:.3g}"]
            compared = found.get((measure, variant))
            if compared is None:
                cells += ["–", "–", "baseline" if variant == report["baseline"] else "–"]
            else:
                own = compared["difference"]
                interval = "" if own["low"] is None else f" [{own['low']:.3g}, {own['high']:.3g}]"
                cells += [f"{own['mean']:.3g}{interval}", f"{compared['p_adjusted']:.3g}", compared["verdict"]["words"]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def command(arguments: list[str]) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="experiments.ablation.table", description=__doc__)
    parser.add_argument("--report", type=Path, required=True, help="report.json of a comparison")
    flags = parser.parse_args(arguments)

    def run() -> int:
        print(markdown(read_json(flags.report)))
        return 0

    return exit_code(run)


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
