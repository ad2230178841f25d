"""Columns of a foreign table by their meaning: named by the user, or recognised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..core import MutransferError
from ._table_source import Table

_PREFIX = re.compile(
    r"^(config|summary|params?|metrics?|hparams?|hyperparameters|args|tags|user_attrs)[./_]",
    re.IGNORECASE,
)
"""Prefixes that trackers put before names."""

_SETTING = re.compile(r"^(config|params?|hparams?|hyperparameters|args)[./_]", re.IGNORECASE)
"""Prefixes of what was set before a run."""

_LOGGED = re.compile(r"^(summary|metrics?)[./_]", re.IGNORECASE)
"""Prefixes of what was logged during a run."""

_UNIT = re.compile(r"^(log2|log10|ln):(.+)$")

_ALIASES: dict[str, tuple[str, ...]] = {
    "lr": (
        *("lr", "learning_rate", "learningrate", "base_lr", "peak_lr", "max_lr", "init_lr"),
        *("initial_lr", "optimizer_lr", "optim_lr", "optimizer_learning_rate", "eta", "lr_value"),
        "learning_rate_value",
    ),
    "loss": (
        *("loss", "final_loss", "val_loss", "validation_loss", "valid_loss", "eval_loss"),
        *("final_val_loss", "best_val_loss", "loss_val", "loss_validation", "test_loss"),
        *("train_loss", "training_loss", "final_train_loss", "mean_loss", "value"),
    ),
    "final": ("final", "final_loss", "final_train_loss"),
    "validation": ("validation", "validation_loss", "val_loss", "valid_loss", "eval_loss"),
    "seed": ("seed", "random_seed", "rng_seed", "run_seed", "init_seed"),
    "rule": ("rule", "parametrization", "parameterization"),
    "status": ("status", "state"),
    "name": ("name", "run_name", "run", "run_id", "trial_id", "id", "number"),
    "step": ("step", "_step", "global_step", "trainer_global_step", "training_iteration"),
    "width": ("width", "d_model", "hidden_size", "hidden", "n_embd", "hidden_dim", "model_dim"),
    "depth": ("depth", "n_layers", "n_layer", "num_layers", "num_hidden_layers", "layers"),
    "params": (
        *("params", "n_params", "num_params", "parameters", "n_parameters", "num_parameters"),
        *("param_count", "parameter_count", "total_params", "model_params"),
        *("non_embedding_params", "n_params_non_embedding"),
    ),
    "tokens": (
        *("tokens", "n_tokens", "num_tokens", "total_tokens", "train_tokens", "training_tokens"),
        *("tokens_seen", "token_count", "dataset_tokens", "token_budget"),
    ),
    "batch": (
        *("batch", "batch_size", "batch_sequences", "global_batch_size", "train_batch_size"),
        *("total_batch_size", "batchsize", "bs", "gbs", "global_batch", "n_batch", "batch_tokens"),
    ),
    "steps": (
        *("steps", "n_steps", "num_steps", "max_steps", "total_steps", "train_steps"),
        *("training_steps", "num_train_steps", "iterations", "n_iters", "max_iters", "num_iters"),
    ),
    "context": (
        *("context", "context_length", "seq_len", "seq_length", "sequence_length", "seqlen"),
        *("block_size", "n_ctx", "ctx_len", "max_seq_len", "context_len"),
    ),
    "weight_decay": ("weight_decay", "wd"),
}
"""Names that a column may have, in the order of preference; written as `plain_name` does."""

_LOGARITHMS = {
    "lr": (
        *("log_lr", "log2_lr", "lr_log2", "log_learning_rate", "log2_learning_rate"),
        *("log10_lr", "ln_lr", "log2lr", "loglr"),
    )
}
"""Names of columns that hold logarithms of some base, which the user has to name."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column and how its values are read.

    Attributes:
        name: Its name in the table.
        unit: "log2", "log10" or "ln" where it holds logarithms, otherwise empty.
    """

    name: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.unit}:{self.name}" if self.unit else self.name


def plain_name(name: str) -> str:
    """Return a column's name without a tracker's prefix, in small letters.

    >>> plain_name("config/Learning Rate"), plain_name("params.lr")
    ('learning_rate', 'lr')
    """
    bare = _PREFIX.sub("", name.strip())
    return re.sub(r"[^0-9a-z]+", "_", bare.lower()).strip("_")


def find(table: Table, role: str, columns: Mapping[str, str]) -> Column | None:
    """Return the column of a role, None if there is none.

    Args:
        table: The table.
        role: What is looked for: a name, such as "lr", or an axis.
        columns: The columns that the user named.

    Raises:
        MutransferError: the column that the user named is missing, or several may be meant.
    """
    if role in columns:
        return _named(table, role, columns[role])
    if role in table.names:
        return Column(name=role)
    return _first(table, role, [name for name in table.names if name not in columns.values()])


def find_setting(table: Table, role: str, columns: Mapping[str, str]) -> Column | None:
    """Return the column of a hyperparameter, None if there is none.

    Of several columns, those of a tracker's configuration come before those that it logged: the
    rate that a schedule has left at the end is not the one that was chosen.

    Args:
        table: The table.
        role: The hyperparameter.
        columns: The columns that the user named.

    Raises:
        MutransferError: as `find`.
    """
    names = [name for name in _known(table, role) if name not in columns.values()]
    if role in columns or len(names) < 2:
        return find(table, role, columns)
    # A setting that is the same in all runs, such as the rate that a warm-up begins with, was not
    # swept.
    settings = [name for name in names if _SETTING.match(name) and _varies(table, name)]
    unlogged = [name for name in names if not _LOGGED.match(name)]
    if not settings and role in unlogged:
        return Column(name=role)
    return _first(table, role, settings or unlogged or names)


def _first(table: Table, role: str, names: Sequence[str]) -> Column | None:
    """Return the column with the first of the names of a role.

    Raises:
        MutransferError: several columns have that name.
    """
    for alias in _aliases(role):
        matches = [name for name in names if plain_name(name) == alias]
        if len(matches) > 1:
            raise MutransferError(
                f"{table.title} has {_listed(matches)}, each of which may be {role}: "
                f"choose one with columns={{{role!r}: {matches[0]!r}}}"
            )
        if matches:
            return Column(name=matches[0])
    return None


def is_setting(name: str) -> bool:
    """Return True for a column that a tracker says was set before a run."""
    return bool(_SETTING.match(name))


def _varies(table: Table, name: str) -> bool:
    return len(set(map(str, table.columns([name])[name]))) > 1


def _aliases(role: str) -> tuple[str, ...]:
    return _ALIASES.get(role, (plain_name(role),))


def _known(table: Table, role: str) -> list[str]:
    """Return every column that may be meant by a role."""
    aliases = _aliases(role)
    return [name for name in table.names if plain_name(name) in aliases]


def needed(table: Table, role: str, columns: Mapping[str, str], is_setting: bool = False) -> Column:
    """Return the column of a role, or of a hyperparameter.

    Raises:
        MutransferError: there is none, or as `find`.
    """
    column = (find_setting if is_setting else find)(table, role, columns)
    if column is not None:
        return column
    logs = [name for name in table.names if plain_name(name) in _LOGARITHMS.get(role, ())]
    example = f"'log2:{logs[0]}'" if logs else "COLUMN"
    raise MutransferError(
        f"{table.title} has no column for {role}: name it with columns={{{role!r}: {example}}}; "
        f"the columns are {_listed(table.names)}"
    )


def others(table: Table, role: str, used: Iterable[str]) -> list[str]:
    """Return further columns that could have been meant by a role."""
    taken = set(used)
    return [name for name in _known(table, role) if name not in taken]


def check_kind(table: Table) -> None:
    """Raise where the table is a curve of training in place of a list of runs.

    Raises:
        MutransferError: it is the export of a chart, or of one run's scalars.
    """
    names = [plain_name(name) for name in table.names]
    charts = [name for name in table.names if " - " in name]
    if "step" in names and charts:
        raise MutransferError(
            f"{table.title} is the export of a chart, with a column for each run such as "
            f"{charts[0]!r}: export the table of runs, which has a row for each"
        )
    if {"wall_time", "step", "value"} == set(names):
        raise MutransferError(
            f"{table.title} is the curve of one run: make a table with a row for each run, "
            "with its size, learning rate and loss"
        )


def _named(table: Table, role: str, text: str) -> Column:
    unit, name = match.groups() if (match := _UNIT.match(text)) else ("", text)
    if text in table.names:
        return Column(name=text)
    if name not in table.names:
        raise MutransferError(
            f"{table.title} has no column {name!r} for {role}; "
            f"the columns are {_listed(table.names)}"
        )
    return Column(name=name, unit=unit)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
