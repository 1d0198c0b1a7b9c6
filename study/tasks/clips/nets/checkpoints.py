"""Import of published checkpoints, whatever network of this project they belong to."""

from __future__ import annotations

from pathlib import Path

from study.tasks.clips.nets.ifdd.exchange import (
    Converted,
    HeadImport,
    import_released,
    must_be_new,
)
from study.tasks.clips.nets.peers.exchange import import_peer, network_of
from study.tasks.clips.nets.state_dicts import read_checkpoint


def import_checkpoint(path: Path, out: Path, head: HeadImport = "kept") -> Converted:
    """Write the weights file `out` from a checkpoint of IFDD, Former-DFER, M3DFEL or MAE-DFER.

    The checkpoint is a state dict, bare or under a key such as ``model`` or ``state_dict``, with or without the
    prefixes of wrappers. No code in the file is run.

    Args:
        path: The checkpoint.
        out: The file to write.
        head: ``fresh`` leaves the classifier out; it is then initialised from the seed, for any number of classes.

    Raises:
        InputError: The file holds more than tensors, its tensors do not fit, or `out` exists.
    """
    must_be_new(out)
    state = read_checkpoint(path)
    network = network_of(state)
    return (
        import_released(path, out, head) if network is None else import_peer(path, state, network, out, head)
    )
