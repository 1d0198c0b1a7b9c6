"""Write the table of ids: ``python tests/ledgers/identity/make.py`` from the root of the repository.

Run it where ids change on purpose, and say so in CHANGELOG under *Changes numbers*: every run that anybody keeps is
trained again then.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

STUDIES = ("clips", "function", "command")


def ids(home: Path) -> dict[str, dict[str, str]]:
    """Return a run's id for each variant of each study."""
    from study.config.compile import compile_study
    from study.config.settings import settings
    from study.config.study import load

    sys.path.insert(0, str(home))
    found = {}
    for name in STUDIES:
        record = compile_study(load(home / f"{name}.toml"), settings(home), "cpu")
        found[name] = {v.name: v.run(record.first_point(v), 1, None).id for v in record.variants}
    return found


if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "ids.json").write_text(json.dumps(ids(here), indent=1) + "\n")
