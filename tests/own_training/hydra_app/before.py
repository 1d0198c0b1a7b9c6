"""A Hydra application: python train.py model.hidden=128 optim.lr=0.01"""

import logging

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

log = logging.getLogger(__name__)


def build(cfg: DictConfig) -> nn.Module:
    layers, width = [], 64
    for _ in range(cfg.model.layers):
        layers += [nn.Linear(width, cfg.model.hidden), nn.ReLU()]
        if cfg.model.norm:
            layers.append(nn.LayerNorm(cfg.model.hidden))
        width = cfg.model.hidden
    return nn.Sequential(*layers, nn.Linear(width, 10))


@hydra.main(version_base=None, config_path=".", config_name="config")
def main(cfg: DictConfig) -> float:
    log.info(OmegaConf.to_yaml(cfg))
    torch.manual_seed(cfg.seed)
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    train, val, test = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).split(600)
    model = build(cfg)
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.optim.lr, weight_decay=cfg.optim.weight_decay)

    def accuracy(rows):
        with torch.no_grad():
            return (model(images[rows]).argmax(1) == labels[rows]).float().mean().item()

    for epoch in range(cfg.trainer.max_epochs):
        for batch in train[torch.randperm(len(train))].split(cfg.trainer.batch_size):
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        val_acc = accuracy(val)
        log.info("epoch %d: loss %.4f, val acc %.4f", epoch, loss.item(), val_acc)
    log.info("test acc %.4f", accuracy(test))
    return val_acc


if __name__ == "__main__":
    main()
