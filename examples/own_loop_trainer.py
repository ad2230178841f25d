"""Hugging Face's Trainer as the training loop of a study; it needs transformers and accelerate.

mutransfer sweep examples/own_loop_trainer.py:study --out runs/trainer
"""

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

import mutransfer as mt
from mutransfer.pytorch import optimizer_cls_and_kwargs


def build(width, depth):
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=depth,
            num_attention_heads=width // 16,
        )
    )


def sentences(number, seed):
    """Sequences that count up from a random number."""
    starts = torch.randint(64, (number, 1), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": row} for row in (starts + torch.arange(16)) % 64]


class Report(TrainerCallback):
    """Reports what the Trainer logs, also of the steps before a checkpoint."""

    def __init__(self, trial):
        self.trial = trial

    def on_train_begin(self, args, state, control, **kwargs):
        for logs in state.log_history:
            self._report(logs["step"], logs)

    def on_log(self, args, state, control, logs, **kwargs):
        self._report(state.global_step, logs)

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.trial.plan.clip_grad_norm_(model, 1.0)

    def _report(self, step, logs):
        if "loss" in logs:
            self.trial.report(step, logs["loss"])
        if "eval_loss" in logs:
            self.trial.report(step, validation=logs["eval_loss"])


def train(trial):
    groups = optimizer_cls_and_kwargs(
        trial.plan, trial.model, trial.lr, weight_decay=0.1, undecayed=["gain"]
    )
    settings = TrainingArguments(
        str(trial.folder),
        max_steps=trial.hyperparameters["steps"],
        per_device_train_batch_size=trial.hyperparameters["batch"],
        lr_scheduler_type="cosine",
        max_grad_norm=0.0,  # the callback clips
        seed=trial.seed,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=10,
        save_steps=10,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
    )
    Trainer(
        trial.model,
        settings,
        train_dataset=sentences(512, seed=0),
        eval_dataset=sentences(64, seed=1),
        optimizer_cls_and_kwargs=groups,
        callbacks=[Report(trial)],
    ).train(resume_from_checkpoint=get_last_checkpoint(str(trial.folder)))


study = mt.Study(
    build,
    width=[32, 64],
    depth=[2],
    lr=mt.log2(-9, -4),
    steps=60,
    batch=16,
    seeds=2,
    train=train,
)
