"""The motifs of the emblems, in black and red on the unit disc. Each is a function of a canvas and a source of numbers."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

Colour = tuple[int, int, int]
Knobs = Callable[[str, float, float], float]
BLACK: Colour = (16, 12, 14)
CIRCLE_POINTS = 96
JOINT_POINTS = 24


class Canvas:
    """The unit disc as a surface for polygons; x points right, y down."""

    black: Colour = BLACK
    red: Colour = (220, 24, 30)

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fill the polygon [P, 2]."""
        raise NotImplementedError

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a disc."""
        self.fill(_circle(x, y, radius), colour)

    def ring(self, x: float, y: float, radius: float, width: float) -> None:
        """Draw a black circle with a line of the given width; its inside stays as it is."""
        closed = [0, *range(CIRCLE_POINTS - 1, -1, -1)]
        outer, inner = _circle(x, y, radius + width / 2), _circle(x, y, radius - width / 2)
        self.fill(np.concatenate([outer, outer[:1], inner[closed]]), self.black)

    def line(self, points: np.ndarray, width: float) -> None:
        """Draw a black line of the given width along [P, 2], with round ends and joints."""
        for a, b in pairwise(points):
            across = _normal(b - a) * width / 2
            self.fill(np.stack([a + across, b + across, b - across, a - across]), self.black)
        for x, y in points:
            self.fill(_circle(x, y, width / 2, points=JOINT_POINTS), self.black)


def _circle(x: float, y: float, radius: float, *, points: int = CIRCLE_POINTS) -> np.ndarray:
    return _polar(radius, _arms(points)) + np.array([x, y])


def _polar(radius: float | np.ndarray, angle: float | np.ndarray) -> np.ndarray:
    radius, angle = np.broadcast_arrays(np.asarray(radius, float), np.asarray(angle, float))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)


def _normal(direction: np.ndarray) -> np.ndarray:
    length = max(float(np.hypot(*direction)), 1e-9)
    return np.array([-direction[1], direction[0]]) / length


def _arms(count: int) -> np.ndarray:
    return np.arange(count) * (2 * np.pi / max(count, 1))


def _pupil(canvas: Canvas, choose: Knobs, *, low: float = 0.13, high: float = 0.19) -> None:
    canvas.disc(0, 0, choose("pupil", low, high), canvas.black)


def _eye(canvas: Canvas, choose: Knobs) -> None:
    """Draw a black pupil in a red ring, for motifs with a black middle."""
    size = choose("eye", 0.18, 0.24)
    canvas.disc(0, 0, size, canvas.red)
    canvas.disc(0, 0, size * 0.55, canvas.black)


def _between(side: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the polygon between two lines that run side by side."""
    return np.concatenate([side, other[::-1]])


def _tomoe(canvas: Canvas, choose: Knobs, *, count: int) -> None:
    """Draw commas: each a round head on an orbit, and a tail that thins out along the orbit."""
    orbit = choose("orbit", 0.52, 0.6)
    if choose("orbit line", 0, 1) < 0.6:
        canvas.ring(0, 0, orbit, choose("line", 0.03, 0.05))
    head = choose("head", 0.14, 0.2) * (1.25 if count == 1 else 1.0)
    t = np.linspace(0, 1, 33)
    middle = orbit + 0.55 * head * t**1.5
    half = head * (1 - t) ** 0.75
    for start in _arms(count):
        angle = start + choose("sweep", 0.75, 1.05) * t
        canvas.fill(_between(_polar(middle + half, angle), _polar(middle - half, angle)), canvas.black)
        x, y = _polar(orbit, start)
        canvas.disc(x, y, head, canvas.black)
    _pupil(canvas, choose)


def _pinwheel(canvas: Canvas, choose: Knobs, *, count: int) -> None:
    """Draw curved blades, each from the hub to a point."""
    width = choose("width", 0.5, 0.8) * 2 * np.pi / count
    curl = choose("curl", 0.5, 1.15) * (1 if choose("hand", 0, 1) < 0.5 else -1)
    hub = choose("hub", 0.26, 0.36)
    inner, outer = hub * 0.8, choose("reach", 0.84, 0.95)
    t = np.linspace(0, 1, 33)
    radius = inner + (outer - inner) * t
    half = width / 2 * (1 - t) ** 0.8
    for start in _arms(count):
        middle = start + curl * t**1.3
        canvas.fill(_between(_polar(radius, middle - half), _polar(radius, middle + half)), canvas.black)
    canvas.disc(0, 0, hub, canvas.black)
    _eye(canvas, choose)


def _star(canvas: Canvas, choose: Knobs, *, count: int) -> None:
    outer, inner = choose("outer", 0.84, 0.93), choose("inner", 0.34, 0.46)
    angles = np.arange(2 * count) * np.pi / count
    canvas.fill(_polar(np.where(np.arange(2 * count) % 2 == 0, outer, inner), angles), canvas.black)
    _eye(canvas, choose)
    if choose("notches", 0, 1) < 0.5:
        for x, y in _polar(outer * 0.58, _arms(count)):
            canvas.disc(x, y, 0.07, canvas.red)


def _hexagram(canvas: Canvas, choose: Knobs) -> None:
    width, radius = choose("line", 0.07, 0.1), choose("radius of the star", 0.78, 0.86)
    for turn in (0, np.pi / 3):
        corners = _polar(radius, turn + np.arange(4) * 2 * np.pi / 3)
        canvas.line(corners, width)
    _pupil(canvas, choose)


def _atom(canvas: Canvas, choose: Knobs) -> None:
    orbits = 2 + int(choose("orbits", 0, 2))
    long, short = choose("long", 0.78, 0.86), choose("short", 0.26, 0.36)
    around = np.linspace(0, 2 * np.pi, 73)
    for turn in np.arange(orbits) * np.pi / orbits:
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        canvas.line(np.stack([long * np.cos(around), short * np.sin(around)], -1) @ rotation, choose("line", 0.055, 0.075))
        x, y = np.array([long * 0.98, 0.0]) @ rotation
        canvas.disc(x, y, choose("electron", 0.08, 0.11), canvas.black)
    _pupil(canvas, choose)


def _planets(canvas: Canvas, choose: Knobs) -> None:
    line = choose("line", 0.035, 0.05)
    moons = 2 + int(choose("moons", 0, 3))
    outer, inner = choose("outer", 0.68, 0.76), choose("inner", 0.36, 0.44)
    for orbit in (outer, inner):
        canvas.ring(0, 0, orbit, line)
    for x, y in _polar(outer, _arms(moons)):
        moon = choose("moon", 0.13, 0.17)
        canvas.disc(x, y, moon, canvas.red)
        canvas.ring(x, y, moon, 0.06)
    for x, y in _polar(inner, _arms(moons) + np.pi / moons):
        canvas.disc(x, y, 0.09, canvas.black)
    _pupil(canvas, choose, low=0.12, high=0.16)


def _polygon(canvas: Canvas, choose: Knobs, *, sides: int) -> None:
    outer = choose("outer", 0.84, 0.92)
    canvas.fill(_polar(outer, _arms(sides)), canvas.black)
    inner = outer - choose("band", 0.16, 0.24) / np.cos(np.pi / sides)
    canvas.fill(_polar(inner, _arms(sides)), canvas.red)
    inscribed = inner * np.cos(np.pi / sides)
    if choose("solid", 0, 1) < 0.5:
        canvas.disc(0, 0, inscribed * 0.85, canvas.black)
        canvas.disc(0, 0, inscribed * 0.45, canvas.red)
    canvas.disc(0, 0, inscribed * choose("pupil", 0.22, 0.3), canvas.black)


def _spiral(canvas: Canvas, choose: Knobs) -> None:
    arms = 1 + int(choose("arms", 0, 3))
    turns = choose("turns", 2.0, 2.6) / arms**0.6
    t = np.linspace(0, 1, 121)
    width = choose("line", 0.085, 0.12)
    hand = 1 if choose("hand", 0, 1) < 0.5 else -1
    for start in _arms(arms):
        canvas.line(_polar(0.08 + 0.86 * t, start + hand * 2 * np.pi * turns * t**0.9), width)
    canvas.disc(0, 0, 0.13, canvas.black)


def _rings(canvas: Canvas, choose: Knobs) -> None:
    count = 2 + int(choose("count", 0, 3))
    line = choose("line", 0.045, 0.08)
    for radius in np.linspace(0.78, 0.34, count):
        canvas.ring(0, 0, radius, line)
    _pupil(canvas, choose)
    for x, y in _polar(0.78, _arms(int(choose("beads", 0, 4)))):
        canvas.disc(x, y, 0.1, canvas.black)


def _shuriken(canvas: Canvas, choose: Knobs) -> None:
    count = 4 + int(choose("blades", 0, 2))
    outer, hub = choose("outer", 0.86, 0.94), choose("hub", 0.3, 0.38)
    lean, step = choose("lean", 0.28, 0.5), 2 * np.pi / count
    for start in _arms(count):
        corners = [_polar(outer, start + lean), _polar(hub, start - step * 0.5), _polar(hub, start + step * 0.5)]
        canvas.fill(np.stack(corners), canvas.black)
    canvas.disc(0, 0, hub, canvas.black)
    _eye(canvas, choose)


def _petals(canvas: Canvas, choose: Knobs) -> None:
    count = 3 + int(choose("petals", 0, 4))
    t = np.linspace(0, 1, 33)
    half = choose("width", 0.62, 0.85) * np.pi / count * np.sin(np.pi * t) ** 0.8
    radius = 0.16 + (choose("outer", 0.84, 0.92) - 0.16) * t
    for start in _arms(count):
        canvas.fill(_between(_polar(radius, start - half), _polar(radius, start + half)), canvas.black)
        if choose("veins", 0, 1) < 0.5:
            vein = _between(_polar(radius, start - half * 0.4), _polar(radius, start + half * 0.4)) * 0.86
            canvas.fill(vein, canvas.red)
    _pupil(canvas, choose)


def _trefoil(canvas: Canvas, choose: Knobs) -> None:
    leaf, orbit = choose("leaf", 0.27, 0.33), choose("orbit", 0.5, 0.56)
    for x, y in _polar(orbit, _arms(3)):
        canvas.line(np.array([[0.0, 0.0], [x, y]]), 0.12)
        canvas.disc(x, y, leaf, canvas.black)
        canvas.disc(x, y, leaf * choose("hole", 0.4, 0.6), canvas.red)
    canvas.disc(0, 0, 0.24, canvas.black)
    canvas.disc(0, 0, choose("eye of the leaf", 0.1, 0.14), canvas.red)


def _wheel(canvas: Canvas, choose: Knobs) -> None:
    spokes = 3 + int(choose("spokes", 0, 4))
    felloe = choose("felloe", 0.6, 0.7)
    canvas.disc(0, 0, 0.95, canvas.black)
    canvas.disc(0, 0, felloe, canvas.red)
    for start in _arms(spokes):
        canvas.line(np.stack([_polar(0.0, start), _polar(0.9, start)]), choose("spoke", 0.12, 0.2))
        x, y = _polar(0.79, start + np.pi / spokes)
        canvas.disc(x, y, 0.09, canvas.red)
    canvas.disc(0, 0, choose("nave", 0.3, 0.38), canvas.black)
    _eye(canvas, choose)


MOTIFS: dict[str, Callable[[Canvas, Knobs], None]] = {
    "one tomoe": partial(_tomoe, count=1),
    "pinwheel of three": partial(_pinwheel, count=3),
    "star of five": partial(_star, count=5),
    "atom": _atom,
    "spiral": _spiral,
    "two tomoe": partial(_tomoe, count=2),
    "pinwheel of four": partial(_pinwheel, count=4),
    "triangle": partial(_polygon, sides=3),
    "rings": _rings,
    "petals": _petals,
    "three tomoe": partial(_tomoe, count=3),
    "pinwheel of five": partial(_pinwheel, count=5),
    "star of six": partial(_star, count=6),
    "planets": _planets,
    "wheel": _wheel,
    "pinwheel of six": partial(_pinwheel, count=6),
    "hexagram": _hexagram,
    "square": partial(_polygon, sides=4),
    "shuriken": _shuriken,
    "trefoil": _trefoil,
}
"""Class name to motif. Names enter the dataset's digest, and the texts given to `choose` enter its hash: never change them."""
