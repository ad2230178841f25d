"""A planned model trains in frameworks as in a plain loop."""

import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as lightning
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

import mutransfer as mt
from mutransfer.pytorch import configure_optimizers, optimizer_cls_and_kwargs
from tests.models.hugging_face import llama

RATE, DECAY, CLIP, STEPS, HALF, BATCH = 2**-6, 0.1, 0.05, 6, 3, 4
GROUPS = {"weight_decay": DECAY, "eps": 1e-7, "undecayed": ["gain"]}
IDS = torch.randint(64, (STEPS * BATCH, 9), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": ids, "labels": ids} for ids in IDS]
Clip = Callable[[mt.Plan, nn.Module], object]


def torch_clip(plan: mt.Plan, model: nn.Module) -> object:
    return nn.utils.clip_grad_norm_(model.parameters(), CLIP)


def plan_clip(plan: mt.Plan, model: nn.Module) -> object:
    return plan.clip_grad_norm_(model, CLIP)


def lightning_clip(plan: mt.Plan, model: nn.Module) -> object:
    """Clip by a norm that is summed in the order of the groups, as Lightning does."""
    ordered = [parameter for group in groups(plan, model) for parameter in group["params"]]
    return nn.utils.clip_grad_norm_(ordered, CLIP)


def planned() -> tuple[nn.Module, mt.Plan]:
    model = llama(32, 4)
    plan = mt.plan(model, llama(16, 2))
    plan.initialize(model)
    return model, plan


def cosine(step: int) -> float:
    return (1 + math.cos(math.pi * step / STEPS)) / 2


def batches() -> list[Tensor]:
    return list(IDS.split(BATCH))


def groups(plan: mt.Plan, model: nn.Module) -> list[dict[str, Any]]:
    return plan.param_groups(model, RATE, **GROUPS)


def plain(clip: Clip | None = None) -> nn.Module:
    """Train by a loop that sets the rates itself."""
    model, plan = planned()
    optimizer = AdamW(groups(plan, model))
    for step, ids in enumerate(batches()):
        for group in optimizer.param_groups:
            group["lr"] = RATE * group["lr_factor"] * cosine(step)
        model(input_ids=ids, labels=ids).loss.backward()
        if clip:
            clip(plan, model)
        optimizer.step()
        optimizer.zero_grad()
    return model


def assert_trained_equally(one: nn.Module, other: nn.Module) -> None:
    start, ours, theirs = (model.state_dict() for model in (planned()[0], one, other))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert not torch.equal(value, start[name]) and torch.equal(value, theirs[name]), name


def ratios(optimizer: Optimizer) -> list[tuple[Any, ...]]:
    """Return what the groups are, but for the common rate."""
    first, keys = optimizer.param_groups[0]["lr"], ("lr_factor", "weight_decay", "eps")
    return [
        (*group["names"], *(group[key] for key in keys), round(group["lr"] / first, 9))
        for group in optimizer.param_groups
    ]


@cache
def planned_ratios() -> list[tuple[Any, ...]]:
    model, plan = planned()
    return ratios(AdamW(groups(plan, model)))


class Watch(TrainerCallback):
    """A guard of the stepping optimizer, audits of it and its wrapper, and clipping."""

    def __init__(self, plan: mt.Plan, clip: Clip | None = None) -> None:
        self.plan, self.clip = plan, clip
        self.steps = 0

    def on_train_begin(self, *_: Any, model: nn.Module, optimizer: Any, **__: Any) -> None:
        self.plan.guard(model, optimizer.optimizer)

    def on_step_begin(self, *_: Any, model: nn.Module, optimizer: Any, **__: Any) -> None:
        for shown in (optimizer, optimizer.optimizer):
            self.plan.audit(model, shown).raise_if_wrong()
        assert ratios(optimizer) == planned_ratios()

    def on_pre_optimizer_step(self, *_: Any, model: nn.Module, **__: Any) -> None:
        if self.clip:
            self.clip(self.plan, model)

    def on_step_end(self, *_: Any, model: nn.Module, optimizer: Any, **__: Any) -> None:
        self.plan.audit(model, optimizer).raise_if_wrong()
        self.steps += 1


class Ask(TrainerCallback):
    """An audit of a run without the plan's groups, while its rates are not yet zero."""

    def __init__(self, plan: mt.Plan) -> None:
        self.plan = plan

    def on_step_begin(self, *_: Any, model: nn.Module, optimizer: Any, **__: Any) -> None:
        self.audits = [self.plan.audit(model, o) for o in (optimizer, optimizer.optimizer)]


def trainer(
    model: nn.Module, path: Path, *callbacks: TrainerCallback, given: Any = None, **settings: Any
) -> Trainer:
    defaults: dict[str, Any] = {
        "learning_rate": 1.0,
        "weight_decay": 0.5,
        "max_grad_norm": 0.0,
        "save_strategy": "no",
    }
    args = TrainingArguments(
        output_dir=str(path),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        logging_strategy="no",
        train_sampling_strategy="sequential",
        per_device_train_batch_size=BATCH,
        max_steps=STEPS,
        lr_scheduler_type="cosine",
        **defaults | settings,
    )
    return Trainer(
        model,
        args,
        train_dataset=DATA,
        optimizer_cls_and_kwargs=given,
        callbacks=list(callbacks),
    )


@pytest.mark.parametrize(
    ("clip", "callback_clip", "settings"),
    [(None, None, {}), (torch_clip, None, {"max_grad_norm": CLIP}), (plan_clip, plan_clip, {})],
    ids=["no clip", "max_grad_norm", "clip in a callback"],
)
def test_the_trainer_trains_as_the_plain_loop(
    tmp_path: Path, clip: Clip | None, callback_clip: Clip | None, settings: Any
) -> None:
    model, plan = planned()
    watch = Watch(plan, callback_clip)
    given = optimizer_cls_and_kwargs(plan, model, RATE, **GROUPS)
    running = trainer(model, tmp_path, watch, given=given, **settings)
    running.train()
    assert watch.steps == STEPS and type(running.optimizer.optimizer) is AdamW
    assert_trained_equally(model, plain(clip))


def test_a_trainer_resumed_from_a_checkpoint_keeps_ratios_and_values(tmp_path: Path) -> None:
    for stop in (True, False):
        model, plan = planned()
        watch = Watch(plan)
        given = optimizer_cls_and_kwargs(plan, model, RATE, **GROUPS)
        saving = {"save_strategy": "steps", "save_steps": HALF}
        checkpoint = None if stop else str(tmp_path / f"checkpoint-{HALF}")
        trainer(model, tmp_path, watch, given=given, **saving).train(checkpoint)
        assert watch.steps == (STEPS if stop else STEPS - HALF)
    assert_trained_equally(model, plain())


def test_the_audit_sees_an_optimizer_of_the_trainer(tmp_path: Path) -> None:
    model, plan = planned()
    ask = Ask(plan)
    trainer(model, tmp_path, ask, learning_rate=RATE, weight_decay=DECAY).train()
    for audit in ask.audits:
        assert any(
            "planned with lr_factor in their group, found without" in text
            for text in audit.findings
        )
        assert any(
            "learning rates do not stand in the planned ratios" in text for text in audit.findings
        )


def accelerated(model: nn.Module, optimizer: Optimizer) -> tuple[Accelerator, Any, Any, Any]:
    accelerator = Accelerator(cpu=True)
    return accelerator, *accelerator.prepare(model, optimizer, LambdaLR(optimizer, cosine))


def test_accelerate_trains_as_the_plain_loop(tmp_path: Path) -> None:
    model, plan = planned()
    inner = AdamW(groups(plan, model))
    guard = plan.guard(model, inner)
    accelerator, prepared, optimizer, schedule = accelerated(model, inner)
    assert ratios(optimizer) == planned_ratios()
    assert plan.audit(prepared, optimizer).ok and plan.audit(prepared, inner).ok

    def train(steps: range) -> None:
        for step in steps:
            ids = batches()[step]
            accelerator.backward(prepared(input_ids=ids, labels=ids).loss)
            accelerator.clip_grad_norm_(prepared.parameters(), CLIP)
            assert ratios(optimizer) == planned_ratios() and plan.audit(prepared, optimizer).ok
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    train(range(HALF))
    accelerator.save_state(str(tmp_path))
    train(range(HALF, STEPS))
    assert_trained_equally(model, plain(torch_clip))
    accelerator.load_state(str(tmp_path))
    train(range(HALF, STEPS))
    guard.remove()
    assert_trained_equally(model, plain(torch_clip))


def test_accelerates_wrapper_can_be_guarded() -> None:
    model, plan = planned()
    _, prepared, optimizer, _ = accelerated(model, AdamW(groups(plan, model)))
    with plan.guard(prepared, optimizer):
        optimizer.param_groups[0]["lr"] *= 2
        with pytest.raises(mt.MutransferError, match="do not stand in the planned ratios"):
            optimizer.step()


def test_a_wrapper_hides_no_wrong_class() -> None:
    model, plan = planned()
    adamw, sgd = (
        accelerated(model, cls(groups(plan, model)))[2] for cls in (AdamW, torch.optim.SGD)
    )
    audit = plan.audit(model, adamw)
    assert audit.findings == audit.unknown == ()
    assert any(
        "planned for adamw, found in SGD" in text for text in plan.audit(model, sgd).findings
    )


def test_the_audit_sees_an_ordinary_optimizer_in_accelerate() -> None:
    model, plan = planned()
    _, prepared, optimizer, _ = accelerated(model, AdamW(model.parameters(), lr=RATE))
    findings = plan.audit(prepared, optimizer).findings
    assert any("learning rates do not stand in the planned ratios" in text for text in findings)


class Module(lightning.LightningModule):
    """A network with its plan, or with an optimizer that the audit should see."""

    def __init__(self, *, with_plan: bool = True) -> None:
        super().__init__()
        self.net, self.plan = planned()
        self.with_plan, self.steps = with_plan, 0

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """Return the loss of this step: Lightning restarts the data at a checkpoint."""
        ids = batches()[self.global_step]
        return self.net(input_ids=ids, labels=ids).loss

    def configure_optimizers(self) -> Any:
        if self.with_plan:
            optimizer = configure_optimizers(self.plan, self.net, RATE, **GROUPS)
        else:
            optimizer = AdamW(self.parameters(), lr=RATE)
        assert isinstance(optimizer, Optimizer)
        schedule = {"scheduler": LambdaLR(optimizer, cosine), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_start(self) -> None:
        if self.with_plan:
            self.plan.guard(self.net, self.trainer.optimizers[0])

    def on_train_batch_start(self, *_: Any) -> None:
        optimizer = self.trainer.optimizers[0]
        self.audits = [self.plan.audit(self.net, o) for o in (self.optimizers(), optimizer)]
        if self.with_plan:
            assert all(audit.ok for audit in self.audits)
            assert ratios(optimizer) == planned_ratios()
            self.steps += 1


def fitted(
    module: Module, path: Path, steps: int = STEPS, checkpoint: Path | None = None
) -> lightning.Trainer:
    running = lightning.Trainer(
        max_steps=steps,
        accelerator="cpu",
        devices=1,
        logger=False,
        default_root_dir=path,
        gradient_clip_val=CLIP,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    running.fit(module, DataLoader(DATA, batch_size=BATCH), ckpt_path=checkpoint)
    return running


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_as_the_plain_loop_also_from_a_checkpoint(tmp_path: Path) -> None:
    whole, first, second = Module(), Module(), Module()
    fitted(whole, tmp_path)
    fitted(first, tmp_path, HALF).save_checkpoint(tmp_path / "half.ckpt")
    fitted(second, tmp_path, checkpoint=tmp_path / "half.ckpt")
    assert [module.steps for module in (whole, first, second)] == [STEPS, HALF, STEPS - HALF]
    for module in (whole, second):
        assert_trained_equally(module.net, plain(lightning_clip))


@pytest.mark.filterwarnings("ignore")
def test_the_audit_sees_a_lightning_module_without_the_plan(tmp_path: Path) -> None:
    module = Module(with_plan=False)
    fitted(module, tmp_path)
    for audit in module.audits:
        assert any(
            "learning rates do not stand in the planned ratios" in text for text in audit.findings
        )
