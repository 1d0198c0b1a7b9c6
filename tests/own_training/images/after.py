#!/usr/bin/env python3
"""Image classification training script, here on the 8x8 digits that come with scikit-learn."""

import argparse
import csv
import json
import logging
import os
import time

import torch
import torch.nn as nn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

_logger = logging.getLogger("train")

parser = argparse.ArgumentParser(description="Training")
group = parser.add_argument_group("Model parameters")
group.add_argument("--model", default="convnet", metavar="NAME", help='"convnet" or "mlp"')
group.add_argument("--width", type=int, default=16)
group.add_argument("--drop", type=float, default=0.0, metavar="PCT", help="dropout rate")
group = parser.add_argument_group("Optimizer parameters")
group.add_argument("--opt", default="sgd", metavar="OPTIMIZER", help='"sgd" or "adamw"')
group.add_argument("--lr", type=float, default=0.05)
group.add_argument("--momentum", type=float, default=0.9)
group.add_argument("--weight-decay", type=float, default=2e-5)
group.add_argument("--nesterov", action="store_true")
group = parser.add_argument_group("Schedule parameters")
group.add_argument("--sched", default="cosine", help='"cosine" or "none"')
group.add_argument("--epochs", type=int, default=5)
group.add_argument("--smoothing", type=float, default=0.1, help="label smoothing")
group = parser.add_argument_group("Miscellaneous")
group.add_argument("-b", "--batch-size", type=int, default=32)
group.add_argument("-j", "--workers", type=int, default=0)
group.add_argument("--seed", type=int, default=42)
group.add_argument("--device", default="cpu")
group.add_argument("--output", default="output", metavar="PATH")


class AverageMeter:
    def __init__(self):
        self.sum = self.count = self.avg = 0.0

    def update(self, val, n=1):
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count


def create_model(name, width, drop_rate):
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Dropout(drop_rate), nn.Linear(width, 10)
        )
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(drop_rate),
        nn.Linear(width * 16, 10),
    )


def create_optimizer(args, model):
    if args.opt == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    return torch.optim.SGD(
        model.parameters(),
        lr=args.lr,
        momentum=args.momentum,
        weight_decay=args.weight_decay,
        nesterov=args.nesterov,
    )


def create_loaders(args):
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    dataset = TensorDataset(images, torch.tensor(labels))
    splits = random_split(dataset, [600, 400, 797], torch.Generator().manual_seed(0))
    return [
        DataLoader(split, args.batch_size, shuffle=i == 0, num_workers=args.workers)
        for i, split in enumerate(splits)
    ]


def train_one_epoch(epoch, model, loader, optimizer, loss_fn, args):
    losses_m = AverageMeter()
    model.train()
    for input, target in loader:
        input, target = input.to(args.device), target.to(args.device)
        loss = loss_fn(model(input), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses_m.update(loss.item(), input.size(0))
    _logger.info("Train: %d  Loss: %.4f  LR: %.2e", epoch, losses_m.avg, optimizer.param_groups[0]["lr"])
    return {"loss": losses_m.avg}


@torch.no_grad()
def validate(model, loader, args):
    losses_m, top1_m = AverageMeter(), AverageMeter()
    model.eval()
    for input, target in loader:
        input, target = input.to(args.device), target.to(args.device)
        output = model(input)
        losses_m.update(nn.functional.cross_entropy(output, target).item(), input.size(0))
        top1_m.update(100 * (output.argmax(1) == target).float().mean().item(), input.size(0))
    return {"loss": losses_m.avg, "top1": top1_m.avg}


def record(args, **figures):
    with open(os.path.join(args.output, "metrics.jsonl"), "a") as f:
        print(json.dumps(figures), file=f)


def main():
    logging.basicConfig(level=logging.INFO)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    os.makedirs(args.output, exist_ok=True)
    loader_train, loader_eval, loader_test = create_loaders(args)
    model = create_model(args.model, args.width, args.drop).to(args.device)
    optimizer = create_optimizer(args, model)
    lr_scheduler = None
    if args.sched == "cosine":
        lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    train_loss_fn = nn.CrossEntropyLoss(label_smoothing=args.smoothing)

    best_metric, start = -1.0, time.time()
    for epoch in range(args.epochs):
        train_metrics = train_one_epoch(epoch, model, loader_train, optimizer, train_loss_fn, args)
        eval_metrics = validate(model, loader_eval, args)
        if lr_scheduler is not None:
            lr_scheduler.step()
        with open(os.path.join(args.output, "summary.csv"), "a") as f:
            csv.writer(f).writerow([epoch, train_metrics["loss"], eval_metrics["loss"], eval_metrics["top1"]])
        record(args, epoch=epoch + 1, top1=eval_metrics["top1"], train_loss=train_metrics["loss"])
        if eval_metrics["top1"] > best_metric:
            best_metric = eval_metrics["top1"]
            torch.save(model.state_dict(), os.path.join(args.output, "model_best.pth"))
    _logger.info("*** Best metric: %.2f (%.1f s)", best_metric, time.time() - start)
    model.load_state_dict(torch.load(os.path.join(args.output, "model_best.pth"), weights_only=True))
    test_metrics = validate(model, loader_test, args)
    _logger.info("*** Test: %s", test_metrics)
    record(args, test={"top1": test_metrics["top1"]})


if __name__ == "__main__":
    main()
