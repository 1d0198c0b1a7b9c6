"""A plain PyTorch loop under study: a small convolutional network on the 8×8 digits."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

TEST, VALIDATION, BATCH = 500, 300, 32


class Net(nn.Module):
    """Blocks of convolution, optional batch normalisation, and ReLU; the mean over the image; a linear layer."""

    def __init__(self, depth, batch_norm, width=24):
        super().__init__()
        blocks = []
        for i in range(depth):
            blocks.append(nn.Conv2d(width if i else 1, width, 3, padding=1))
            blocks += [nn.BatchNorm2d(width)] if batch_norm else []
            blocks += [nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*blocks)
        self.classify = nn.Linear(width * (8 // 2**depth) ** 2, 10)

    def forward(self, images):
        """Return the (n, 10) logits of (n, 1, 8, 8) images."""
        return self.classify(self.features(images).flatten(1))


def digits(device):
    """Return (n, 1, 8, 8) images from 0 to 1 and (n,) labels."""
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    return images.to(device), torch.tensor(labels).to(device)


def accuracy(labels, logits):
    """Return the share of (n,) labels that have the largest of (n, 10) logits."""
    return float((logits.argmax(1) == labels).mean())


def train(config, run):
    """Train on a random part of the digits; keep the weights of the best epoch on a validation part."""
    images, labels = digits(run.device)
    generator = torch.Generator().manual_seed(run.seed_for("split"))
    indices = torch.randperm(len(images) - TEST, generator=generator)
    validation, training = indices[:VALIDATION], indices[VALIDATION:][: config["examples"]]

    model = Net(**config["model"]).to(run.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    first = 1
    if run.checkpoint.exists():
        saved = torch.load(run.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first = saved["epoch"] + 1
    else:
        run.profile(model, images[:1])

    for epoch in range(first, config["epochs"] + 1):
        order = torch.Generator().manual_seed(run.seed_for("order", epoch))
        model.train()
        for batch in training[torch.randperm(len(training), generator=order)].split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        acc = accuracy(labels[validation].numpy(force=True), logits(model, images[validation]))
        if run.report(epoch, acc=acc, train_loss=loss.item()):
            torch.save(model.state_dict(), run.weights)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, run.checkpoint)


def test(config, run):
    """Return the accuracy of the best epoch on the test digits, and record the predictions."""
    images, labels = digits(run.device)
    model = Net(**config["model"]).to(run.device)
    model.load_state_dict(torch.load(run.weights, weights_only=True))
    scores, truth = logits(model, images[-TEST:]), labels[-TEST:].numpy(force=True)
    run.predictions([f"digit {i}" for i in range(len(images) - TEST, len(images))], truth, scores)
    return {"acc": accuracy(truth, scores)}


@torch.no_grad()
def logits(model, images):
    """Return the (n, 10) logits of images as a NumPy array."""
    return model.eval()(images).numpy(force=True)
