"""Find and get a source distribution with pip's own parts: `python -m llmastool.mining.sdist NAME VERSION FOLDER`.

pip has no command that gets one without running its `setup.py`. This uses what `pip index versions` and `pip download`
are made of, so that the user's index, proxy and certificates hold, and stops before anything is built. It is run in a
process of its own: these parts are not public, and should they be gone in some release of pip, only this fails.

Prints one JSON object: `{"file": name, "url": url}`, or `{"versions": [...]}` where the release has none.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pip._internal.commands import create_command
from pip._internal.network.utils import response_chunks

_ENDINGS = (".tar.gz", ".zip", ".tar.bz2", ".tar.xz")


def main(argv: Sequence[str]) -> None:
    """Write the source distribution of a release into a folder."""
    name, version, folder = argv
    command = create_command("download")
    with command.main_context():
        options, _ = command.parse_args(["--quiet", "--no-input", "--no-deps", name])
        session = command.get_default_session(options)  # type: ignore[attr-defined]
        finder = command._build_package_finder(options, session)  # type: ignore[attr-defined]
        candidates = finder.find_all_candidates(name)
        wanted = [c for c in candidates if str(c.version) == version and c.link.filename.endswith(_ENDINGS)]
        if not wanted:
            versions = sorted({c.version for c in candidates})
            print(json.dumps({"versions": [str(v) for v in versions]}))
            return
        link = wanted[-1].link
        response = session.get(link.url_without_fragment, stream=True, headers={"Accept-Encoding": "identity"})
        response.raise_for_status()
        content = b"".join(response_chunks(response))
    if link.hash_name is not None and hashlib.new(link.hash_name, content).hexdigest() != link.hash:
        sys.exit(f"the file at {link.url_without_fragment} has another {link.hash_name} than the index states")
    file = Path(link.filename).name
    Path(folder, file).write_bytes(content)
    print(json.dumps({"file": file, "url": link.url_without_fragment}))


if __name__ == "__main__":
    main(sys.argv[1:])
