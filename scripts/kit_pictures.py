"""Makes the picture of the web kit's page in docs/images, as a phone shows it.

Usage: python -m scripts.kit_pictures KIT PICTURE, with a kit that `edgetransfer export --for web`
wrote, and a picture that the page is given.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.pipeline.kits.test_web import page, wait

OUT = Path(__file__).parents[1] / "docs" / "images" / "web-kit.png"
WIDTH, HEIGHT, COLOURS = 390, 844, 128


def main() -> None:
    """Give the page a picture, check the device, and keep what is seen then."""
    kit, picture = (Path(each).resolve() for each in sys.argv[1:3])
    with page(kit) as (tab, _, _), tempfile.TemporaryDirectory() as room:
        tab.wide(WIDTH, HEIGHT)
        root = tab.do("DOM.getDocument")["root"]["nodeId"]
        node = tab.do("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        tab.do("DOM.setFileInputFiles", nodeId=node, files=[str(picture)])
        wait(tab, "document.getElementById('state').innerText.startsWith('Answered')")
        tab.say("document.getElementById('check').click()")
        wait(tab, "!document.getElementById('save').hidden")
        shot = Path(room, "shot.png")
        tab.drawn(shot)
        small = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB").quantize(COLOURS)
        small.save(OUT, optimize=True)


if __name__ == "__main__":
    main()
