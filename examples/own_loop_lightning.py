"""Lightning as the training loop of a study; it needs pytorch-lightning.

mutransfer sweep examples/own_loop_lightning.py:study --out runs/lightning
"""

import pytorch_lightning as lightning
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import mutransfer as mt
from mutransfer.pytorch import configure_optimizers


def build(width):
    return nn.Sequential(
        nn.Linear(8, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 1),
    )


def examples(number, seed):
    x = torch.randn(number, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x[:, :1] * x[:, 1:2])


class Module(lightning.LightningModule):
    def __init__(self, trial):
        super().__init__()
        self.trial, self.model = trial, trial.model

    def training_step(self, batch):
        x, y = batch
        return F.mse_loss(self.model(x), y)

    def on_train_batch_end(self, outputs, batch, number):
        self.trial.report(self.global_step, outputs["loss"].item())

    def validation_step(self, batch):
        x, y = batch
        self.log("validation", F.mse_loss(self.model(x), y))

    def on_validation_epoch_end(self):
        loss = self.trainer.callback_metrics["validation"]
        self.trial.report(self.global_step, validation=loss.item())

    def configure_optimizers(self):
        settings = {"weight_decay": 0.1, "undecayed": ["bias"]}
        optimizer = configure_optimizers(self.trial.plan, self.model, self.trial.lr, **settings)
        steps = self.trial.hyperparameters["steps"]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def train(trial):
    trainer = lightning.Trainer(
        max_steps=trial.hyperparameters["steps"],
        default_root_dir=trial.folder,
        accelerator="auto",
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    order = torch.Generator().manual_seed(trial.seed)
    batches = DataLoader(examples(512, seed=0), 32, shuffle=True, generator=order)
    trainer.fit(Module(trial), batches, DataLoader(examples(256, seed=1), 256))


study = mt.Study(
    build,
    width=[16, 32],
    lr=mt.log2(-9, -4),
    steps=64,
    seeds=2,
    train=train,
)
