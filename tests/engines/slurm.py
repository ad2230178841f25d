"""Slurm in four commands: jobs are processes of this machine, their states files of a folder."""

import os
import stat
from pathlib import Path

SBATCH = """#!/bin/bash
number=$(mktemp "$SLURM_FOLDER/1XXXXX" | tr -dc '0-9')1$RANDOM
cp "$1" "$SLURM_FOLDER/$number.sh"
grep -q 'partition=full' "$1" && { echo "sbatch: error: partition is full" >&2; exit 1; }
(
  export SLURM_JOB_ID=$number SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
  unset SLURM_ARRAY_JOB_ID
  # The copy, as submitit moves its own file once it has the number.
  setsid bash "$SLURM_FOLDER/$number.sh" >/dev/null 2>&1 &
  echo $! > "$SLURM_FOLDER/$number.pid"
  wait $!
  echo "$number|$([ $? = 0 ] && echo COMPLETED || echo OUT_OF_MEMORY)|here" \
    >> "$SLURM_FOLDER/states"
) >/dev/null 2>&1 &
echo "Submitted batch job $number"
"""

SRUN = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do
  case "$1" in --output|--error) shift 2;; *) shift;; esac
done
exec "$@"
"""

SACCT = """#!/bin/bash
echo "JobID|State|NodeList"
cat "$SLURM_FOLDER/states" 2>/dev/null || true
"""

SCANCEL = """#!/bin/bash
kill -9 -- -$(cat "$SLURM_FOLDER/$1.pid")
"""

COMMANDS = {"sbatch": SBATCH, "srun": SRUN, "sacct": SACCT, "scancel": SCANCEL}


def install(folder: Path) -> dict[str, str]:
    """Write the commands into a folder; return the variables under which they are found."""
    commands = folder / "bin"
    commands.mkdir()
    for name, text in COMMANDS.items():
        path = commands / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "SLURM_FOLDER": str(folder)}
