"""Faults found and false alarms on models of other people.

python benchmarks/coordinate_check/faults_found.py clean faults --out results.json
"""

import argparse
import json
import os
import platform
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from faults import faults_of
from models import MODELS, Model

import mutransfer as mt

SIZES = {"width": [64, 128, 256], "depth": [2, 4, 8]}
REPEATS = 3

TWINS = ["GPTBigCode", "ViT-MSN", "I-JEPA", "MPNet", "OLMoE", "Qwen2-MoE", "SmolLM3", "Helium"]
"""Models much like others, which take time."""

CLEAN = [name for name in MODELS if name not in TWINS]
"""Models that plans are right for."""

FAULTY = [
    *("Llama", "Qwen2", "Qwen3", "Phi", "Phi-3", "StableLM", "OLMo", "Starcoder2", "Mistral"),
    *("GPT-NeoX", "GPT-2", "GPT-J", "Bloom", "OPT", "Mixtral", "Mamba", "BERT", "ViT", "DINOv2"),
    *("T5, gated", "ConvNeXt"),
]
"""Models that faults are planted into."""


def checked(model: Model, axis: str, repeat: int, **settings: Any) -> dict[str, Any]:
    """Check a model; return the verdict, the findings and the seconds it took."""
    start = time.perf_counter()
    try:
        check = mt.coordinate_check(
            model.build(repeat),
            **{axis: SIZES[axis], "batch": model.batch(repeat)} | model.check | settings,
        )
    except mt.MutransferError as error:
        return {"verdict": "refused", "findings": [], "notes": [str(error)], "seconds": 0.0}
    return {
        "verdict": check.verdict,
        "findings": [[finding.name, finding.text] for finding in check.findings],
        "notes": list(check.notes),
        "seconds": round(time.perf_counter() - start, 2),
    }


def clean(name: str, axis: str, repeat: int) -> dict[str, Any]:
    """Check a rightly planned model."""
    _quiet()
    return {"model": name, "axis": axis, "repeat": repeat, **checked(MODELS[name], axis, repeat)}


def faults(name: str) -> list[dict[str, Any]]:
    """Check a model with each fault."""
    _quiet()
    rows = []
    for fault in faults_of(MODELS[name]):
        result = checked(fault.model, fault.axis, 0, seeds=2, control=False)
        names = [found for found, _ in result["findings"]]
        is_named = result["verdict"] == "fail" and fault.is_named(names)
        rows.append({"model": name, "fault": fault.name, "named": is_named, **result})
    return rows


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """Return the counts of the results."""
    told, alarms = results["faults"], results["clean"]
    return {
        "faults": len(told),
        "found": sum(row["verdict"] == "fail" for row in told),
        "named": sum(row["named"] for row in told),
        "clean checks": len(alarms),
        "clean models": len({row["model"] for row in alarms}),
        "false alarms": sum(row["verdict"] == "fail" for row in alarms),
        "undecided": sum(row["verdict"] == "undecided" for row in alarms),
        "refused": sum(row["verdict"] == "refused" for row in [*told, *alarms]),
    }


def main() -> None:
    """Run the checks, and write every result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=["clean", "faults"])
    parser.add_argument("--models", nargs="*")
    parser.add_argument("--axes", nargs="*", default=["width"], choices=[*SIZES])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "summary": {},
        "clean": [],
        "faults": [],
    }
    with ProcessPoolExecutor(given.workers) as pool:
        jobs = {}
        if "faults" in given.parts:
            jobs |= {pool.submit(faults, name): "faults" for name in given.models or FAULTY}
        if "clean" in given.parts:
            jobs |= {
                pool.submit(clean, name, axis, repeat): "clean"
                for axis in given.axes
                for repeat in range(given.repeats)
                for name in given.models or CLEAN
            }
        for job in as_completed(jobs):
            rows = job.result() if isinstance(job.result(), list) else [job.result()]
            results[jobs[job]] += rows
            for row in rows:
                wrong = not row["named"] if "named" in row else row["verdict"] != "pass"
                what = row.get("fault", f"{row.get('axis')}, repeat {row.get('repeat')}")
                detail = [*row["findings"], *row["notes"]] if wrong else ""
                print(row["model"], what, row["verdict"], row["seconds"], detail, flush=True)
            results["summary"] = summary(results)
            if given.out is not None:
                given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(results["summary"])


if __name__ == "__main__":
    main()
