"""Write `assets/digits/digits.npz`: scikit-learn's handwritten digits as an image set.

1,797 grey images of 8x8 pixels, a subset of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998, UCI
machine learning repository, CC BY 4.0). The file is committed, so the default dataset needs no download; running this
again writes the same bytes.

    python benchmarks/make_digits.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

DEFAULT = Path(__file__).resolve().parent.parent / "assets" / "digits" / "digits.npz"


def main(path: Path) -> None:
    digits = load_digits()
    # Grey levels are the whole numbers 0..16. Integer arithmetic spreads them over 0..255 alike on every machine.
    levels = digits.images.astype(np.int64)
    images = ((levels * 255 + 8) // 16).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = np.array([str(name) for name in digits.target_names])
    np.savez_compressed(path, images=images, labels=digits.target.astype(np.int64), class_names=names)
    print(f"{path}: {len(images)} images of {images.shape[1:]}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
