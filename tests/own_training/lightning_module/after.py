"""A LightningModule and its Trainer, on the 8x8 digits."""

import argparse

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split


class Digits(L.LightningDataModule):
    def __init__(self, batch_size=32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        images, labels = load_digits(return_X_y=True)
        dataset = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels))
        generator = torch.Generator().manual_seed(0)
        self.train, self.val, self.test = random_split(dataset, [600, 400, 797], generator)

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, 256)

    def test_dataloader(self):
        return DataLoader(self.test, 256)


class Classifier(L.LightningModule):
    def __init__(self, hidden=64, dropout=0.0, lr=1e-2):
        super().__init__()
        self.save_hyperparameters()
        self.model = nn.Sequential(
            nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)
        )

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = F.cross_entropy(self.model(x), y)
        self.log("train_loss", loss)
        return loss

    def evaluate(self, batch, stage):
        x, y = batch
        logits = self.model(x)
        self.log(f"{stage}_loss", F.cross_entropy(logits, y))
        self.log(f"{stage}_acc", (logits.argmax(1) == y).float().mean())

    def validation_step(self, batch, batch_idx):
        self.evaluate(batch, "val")

    def test_step(self, batch, batch_idx):
        self.evaluate(batch, "test")

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)


def fit(hidden, dropout, lr, epochs, callbacks=(), root="."):
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        default_root_dir=root,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        enable_progress_bar=False,
    )
    model, data = Classifier(hidden, dropout, lr), Digits()
    trainer.fit(model, data)
    return trainer.test(model, data)[0]


def train(config, run):
    def report(trainer, module):
        run.report(trainer.current_epoch + 1, acc=trainer.callback_metrics["val_acc"].item())

    callback = LambdaCallback(on_validation_end=report)
    run.test(acc=fit(**config, callbacks=[callback], root=run.folder)["test_acc"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--epochs", type=int, default=5)
    L.seed_everything(42)
    fit(**vars(parser.parse_args()))
