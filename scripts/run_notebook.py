"""Run notebooks, and keep their outputs in them.

    python scripts/run_notebook.py examples/tutorial.ipynb

The working folder is a new one, so that a sweep starts from nothing. What differs from run to run
without meaning anything (times, versions, counters) is not kept.
"""

import argparse
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def run(notebook: NotebookNode, folder: Path, timeout: int = 300) -> NotebookNode:
    """Run all cells of a notebook in a folder, and return it with the outputs.

    Args:
        notebook: The notebook; it is changed in place.
        folder: Working folder of its cells.
        timeout: Most seconds for a cell.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    )
    client.execute()
    notebook.metadata.pop("signature", None)
    notebook.metadata.language_info = {"name": "python"}
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return notebook


def main() -> None:
    """Run the notebooks that are named, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("notebooks", type=Path, nargs="+")
    for path in parser.parse_args().notebooks:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
