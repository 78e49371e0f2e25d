"""The lateral view: attenuation of a chest seen from its left, with the front on the left of the image."""

from __future__ import annotations

import math

import numpy as np

from archives.phantoms.canvas import Canvas, Field, Strokes, blur, clouds, curve, edge, value
from archives.phantoms.patient import Patient

HILUM = (128.0, 108.0)


class LateralChest:
    """The layers of one lateral film, in the units of `FrontalChest`."""

    def __init__(self, canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
        self.canvas, self.patient, self.rng = canvas, patient, rng
        # Depth of the chest: all x are scaled about its middle.
        self.x = (canvas.x - 128) / np.float32(patient.depth) + 128
        self._lay_borders()
        self.soft = self._body()
        self.heart = self._heart()
        self.field = self._lung_field()
        self.air = self._lungs()
        self.bone = self._skeleton()
        self.device = np.zeros_like(self.air)

    @property
    def attenuation(self) -> Field:
        """The sum of all layers; 0 is air."""
        return self.soft - self.air + self.bone + self.device

    def place(self, x: float) -> float:
        """Body x for a position in a chest of average depth."""
        return (x - 128) * self.patient.depth + 128

    def diaphragm_y(self, x: float) -> float:
        """Height of the upper dome at a position in a chest of average depth."""
        return value(self.domes[0], x)

    def front_x(self, y: float) -> float:
        """Position of the back of the sternum at height `y`, in a chest of average depth."""
        return value(self.front, y)

    def _lay_borders(self) -> None:
        p, top = self.patient, self.patient.apex_y
        self.front = curve(
            [
                (top - 6, 118),
                (top + 6, 107),
                (top + 22, 90),
                (top + 45, 72),
                (top + 75, 58),
                (top + 110, 50),
                (top + 150, 50),
                (280, 54),
            ],
            smooth=9,
        )
        self.back = curve(
            [
                (top - 6, 148),
                (top + 4, 164),
                (top + 18, 184),
                (top + 40, 201),
                (top + 75, 212),
                (top + 120, 213),
                (top + 160, 206),
                (260, 196),
            ],
            smooth=9,
        )
        self.domes = []
        for dome, offset in ((p.dome_y("right"), 0.0), (p.dome_y("left"), 3.0)):
            self.domes.append(
                curve(
                    [
                        (40, dome + 20), (56, dome + 9), (78, dome + 1 + offset), (104, dome - 2 + offset),
                        (132, dome + 4 + offset), (160, dome + 17 + offset), (182, dome + 32),
                        (200, dome + 46 + 0.3 * p.angle_depth), (215, dome + 60),
                    ],
                    smooth=6,
                )
            )  # fmt: skip
        lean = 4 * p.lean
        self.column = curve(
            [(-20, 158), (20, 172), (60, 192), (110, 201 + lean), (165, 196), (215, 184), (280, 172)], smooth=12
        )

    def _body(self) -> Field:
        p, c = self.patient, self.canvas
        flesh = 10 + 17 * p.fat
        skin_front = curve(
            [
                (-40, 84),
                (8, 86),
                (28, 76 - flesh),
                (50, 70 - flesh),
                (90, 56 - flesh),
                (140, 48 - flesh),
                (190, 44 - flesh),
                (230, 42 - 2 * flesh),
                (300, 40 - 2 * flesh),
            ],
            smooth=10,
        )
        skin_back = curve(
            [
                (-40, 196),
                (12, 204),
                (45, 220 + flesh),
                (90, 227 + flesh),
                (150, 222 + flesh),
                (200, 214 + flesh),
                (300, 214 + 1.4 * flesh),
            ],
            smooth=12,
        )
        inside = np.minimum(self.x - c.by_row(skin_front), c.by_row(skin_back) - self.x)
        rim = np.clip(inside / np.float32(62), 0, 1)
        thickness = np.sqrt(1 - (1 - rim) ** 2)
        by_height = curve([(-10, 1.10), (30, 1.12), (60, 1.0), (110, 0.98), (170, 1.05), (256, 1.20)], smooth=12)
        body = thickness * c.by_row(by_height) * np.float32(1.0 + 0.16 * p.fat)
        # Raised arms cross the upper front corner of the film.
        slope = self.rng.uniform(-0.15, 0.4)
        centre = self.rng.uniform(4, 26)
        arm = 22 + 5 * p.fat - np.abs(c.y - centre - slope * (self.x - 60))
        limb = np.sqrt(np.clip(arm / np.float32(22), 0, 1)) * np.float32(0.5) * edge(150 - self.x, 40)
        body = np.maximum(body, limb) + 0.28 * limb * edge(inside, 20)
        if p.female:
            size = 0.7 + 0.6 * p.fat
            y = p.dome_right_y - 22 + 6 * p.fat
            radius = c.ellipse(self.place(value(skin_front, y) + 8), y, 15 * size + 4, 24 * size, turn_deg=12)
            breast = np.sqrt(np.clip(1 - radius**2, 0, 1))
            body = np.maximum(body, 0.62 * breast) + 0.10 * breast * edge(inside, 6)
        return np.asarray(body)

    def _heart(self) -> Field:
        p, c = self.patient, self.canvas
        swell = p.heart_ratio / 0.44
        floor = p.dome_right_y
        length, wide = 45 * swell**0.85, 34 * swell**0.95
        x, y = 86 + 22 * (swell - 1), floor - 17 - 14 * (swell - 1)
        self.heart_back = x + length * 0.92
        ball = c.disc(self.place(x), y, length * p.depth, wide, soft=7, turn_deg=34)
        roots = curve([(40, 122), (70, 121), (100, 112), (130, 96), (170, 84)], smooth=10)
        vessels = edge(15 - np.abs(self.x - c.by_row(roots)), 7) * edge(c.y - p.apex_y - 26, 14) * edge(floor - c.y, 10)
        arch = np.abs(c.ellipse(self.place(132), p.apex_y + 58, 22, 23) - 1) * 22
        arch = edge(8.5 - arch, 5) * edge(p.apex_y + 72 - c.y, 14)
        descending = edge(9 - np.abs(self.x - c.by_row(self.column) + 22), 6) * edge(c.y - p.apex_y - 50, 16)
        silhouette: Field = np.maximum(
            np.maximum(0.80 * ball, 0.46 * vessels), np.maximum(0.32 * arch, 0.16 * descending)
        )
        return silhouette

    def _lung_field(self) -> Field:
        p, c = self.patient, self.canvas
        self.from_front = self.x - c.by_row(self.front)
        self.from_back = c.by_row(self.back) - self.x
        depth = np.minimum(self.from_front, self.from_back + 4)
        rim = np.clip(depth / np.float32(30), 0, 1)
        profile = np.sqrt(1 - (1 - rim) ** 2)
        self.floor = c.by_column(self.domes[0], self.x)
        second = c.by_column(self.domes[1], self.x)
        # Each dome limits the lucency of one lung.
        above = 0.55 * edge(self.floor - c.y, 1.4) + 0.45 * edge(second - c.y, 1.4)
        field: Field = profile * above * edge(c.y - p.apex_y, 14)
        return field

    def _lungs(self) -> Field:
        p, c = self.patient, self.canvas
        depth = c.by_row(curve([(30, 0.28), (60, 0.54), (95, 0.70), (140, 0.76), (200, 0.82)], smooth=12))
        air = self.field * depth * (1 - 0.80 * self.heart)
        self.vessels = self._vessels()
        air -= self.vessels * np.clip(self.field, 0, 1) * (1 - 0.6 * self.heart)
        trachea = curve([(-20, 150), (40, 140), (p.apex_y + 66, 130)], smooth=8)
        tube = edge(5.5 - np.abs(self.x - c.by_row(trachea)), 3) * edge(p.apex_y + 70 - c.y, 8)
        air += 0.15 * tube
        air += 0.10 * c.disc(self.place(129), p.apex_y + 73, 4.5, 4.5, soft=2.5)
        bubble = c.disc(
            self.place(self.rng.uniform(80, 110)), p.dome_y("left") + self.rng.uniform(16, 22), 16, 9, soft=5
        )
        return air + np.float32(self.rng.uniform(0, 0.22)) * bubble * edge(c.y - self.floor - 4, 2)

    def _vessels(self) -> Field:
        layer = self.canvas.strokes()
        x, y = HILUM[0], self.patient.apex_y + 72
        for angle in range(0, 360, 24):
            bearing = math.radians(angle + self.rng.uniform(-10, 10))
            points, width = [(self.place(x), y)], self.rng.uniform(1.6, 2.8)
            for part in range(4):
                bearing += self.rng.uniform(-0.2, 0.2)
                step = self.rng.uniform(11, 17)
                points.append((points[-1][0] + math.cos(bearing) * step, points[-1][1] + math.sin(bearing) * step))
                layer.line(points[-2:], width * 0.72**part, 0.95 - 0.17 * part)
                if part:
                    fork = bearing + self.rng.choice((-0.5, 0.5))
                    tip = (points[-2][0] + math.cos(fork) * 22, points[-2][1] + math.sin(fork) * 22)
                    layer.line([points[-2], tip], width * 0.6**part, 0.7 - 0.12 * part)
        hila = self.canvas.disc(self.place(x - 2), y + 2, 11, 16, soft=13, turn_deg=-12)
        grain = 0.010 * clouds(self.rng, 5) + 0.014 * clouds(self.rng, 14)
        markings: Field = 0.11 * blur(layer.field(), 0.8) + 0.15 * hila + grain
        return markings

    def _skeleton(self) -> Field:
        p = self.patient
        ribs, spine = self.canvas.strokes(), self.canvas.strokes()
        y = p.apex_y - 8
        for number in range(9):
            for shift in (0.0, self.rng.uniform(3, 6)):
                self._rib(ribs, y + number * 17.5 + shift, number)
        height = -14.0
        while height < 262:
            size = 12.2 + 0.020 * max(height, 0)
            self._vertebra(spine, height, size)
            height += size + 3.0
        sternum = (
            edge(4.5 - np.abs(self.from_front + 4), 2.5)
            * edge(self.canvas.y - p.apex_y - 20, 8)
            * edge(p.dome_right_y + 2 - self.canvas.y, 10)
        )
        cortex = 0.35 * blur(ribs.field(), 0.7) * (0.25 + 0.75 * np.clip(self.field, 0, 1))
        # The spine becomes darker below the shoulders, unless something lies over it.
        bodies = blur(spine.field(), 0.7) * self.canvas.by_row(
            curve([(0, 0.12), (45, 0.18), (90, 0.34), (170, 0.30), (256, 0.20)], smooth=10)
        )
        blade = self.canvas.strokes()
        blade.line(
            [(self.place(190), p.apex_y + 4), (self.place(202), p.apex_y + 44), (self.place(196), p.apex_y + 66)],
            4,
            0.8,
        )
        bone = 0.30 * cortex + bodies + 0.12 * sternum + 0.08 * blur(blade.field(), 1.5)
        return bone * np.float32(p.bone)

    def _rib(self, layer: Strokes, y: float, number: int) -> None:
        s = np.linspace(0, 1, 16)
        start, end = (value(self.back, y) - 2, value(self.front, y + 48) + 18 + 2 * number)
        xs = start + (end - start) * s
        ys = y + 2 + (30 + 2.0 * number) * s**1.15 * self.patient.rib_slope - 5 * np.sin(math.pi * s)
        xs = (xs - 128) * self.patient.depth + 128
        layer.band(np.stack([xs, ys], axis=1), np.full(len(xs), 5.0), fill=0.45, rim=0.9)

    def _vertebra(self, layer: Strokes, y: float, size: float) -> None:
        x = value(self.column, y + size / 2)
        slope = (value(self.column, y + 20) - value(self.column, y - 8)) / 28
        wide = size * 0.84
        corners = [
            (-wide, 0),
            (-wide + 1.5, size * 0.5),
            (-wide, size),
            (wide, size),
            (wide - 1, size * 0.5),
            (wide, 0),
        ]
        body = [(self.place(x + a + slope * (b - size / 2)), y + b - slope * a * 0.8) for a, b in corners]
        layer.polygon(body, 0.62)
        layer.line([*body, body[0]], 1.3, 0.95)
        tip = [(self.place(x + wide), y + size * 0.5), (self.place(x + wide + 13), y + size * 1.15)]
        layer.line(tip, 5.0, 0.30)
