"""The jobs of a run as workers do them, with nobody to listen where no one is named."""

from __future__ import annotations

from study.tasks import work


def ignore(epoch):
    pass


def train(spec, folder, on_epoch=ignore, rule=""):
    work.train(spec, folder, on_epoch, rule)


def evaluate(spec, folder, on_epoch=ignore):
    work.evaluate(spec, folder, on_epoch)


def measure(spec, folder, on_epoch, key):
    work.measure(spec, folder, on_epoch, key)


def profile(spec, folder, on_epoch=ignore):
    work.profile(spec, folder, on_epoch)
