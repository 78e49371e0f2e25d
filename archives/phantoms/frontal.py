"""The PA view: attenuation of a chest, with the patient's left on the right of the image."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from archives.phantoms.canvas import Canvas, Field, Strokes, blur, clouds, curve, edge, value
from archives.phantoms.patient import Patient
from archives.phantoms.vessels import Line, branch

_SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")


class FrontalChest:
    """The layers of one PA film, in units of the attenuation of a trunk of average thickness.

    Attributes:
        soft: Soft tissue, as if the lungs had no air.
        air: Attenuation that the air of the lungs removes.
        bone: Attenuation of the skeleton.
        device: Attenuation of metal and plastic.
    """

    def __init__(self, canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
        self.canvas, self.patient, self.rng = canvas, patient, rng
        lean = curve([(0, -2.0 * patient.lean), (110, 5 * patient.lean), (256, -2 * patient.lean)], smooth=20)
        self.midline = canvas.by_row(lean)
        self.x = canvas.x
        self.away = np.abs(canvas.x)
        self._lay_borders()
        self.soft = self._body()
        self.heart = self._silhouette()
        self.field = self._lung_field()
        self.air = self._lungs()
        self.bone = self._skeleton()
        self.device = np.zeros_like(self.air)

    @property
    def attenuation(self) -> Field:
        """The sum of all layers; 0 is air."""
        return self.soft - self.air + self.bone + self.device

    def wall_x(self, y: float) -> float:
        """Distance of the inner chest wall from the midline at height `y`."""
        return value(self.wall, y)

    def diaphragm_y(self, side: Literal["left", "right"], away: float) -> float:
        """Height of the diaphragm at a distance from the midline."""
        return value(self.domes[side], away)

    def sided(self, side: Literal["left", "right"]) -> Field:
        """1 on this side of the patient, 0 on the other."""
        return edge(self.x if side == "left" else -self.x, 10)

    def _lay_borders(self) -> None:
        p, half, top = self.patient, self.patient.chest_half, self.patient.apex_y
        bottom = max(p.dome_right_y, p.dome_left_y)
        self.wall = curve(
            [
                (top - 4, 22), (top, 33), (top + 6, 43), (top + 15, 0.20 * half + 36), (top + 30, 0.45 * half + 26),
                (top + 55, 0.78 * half + 11), (top + 88, half - 2), (bottom - 14, half), (bottom + 12, half - 1),
                (bottom + 40, half - 5),
            ],
            smooth=5,
        )  # fmt: skip
        self.domes = {}
        for side in _SIDES:
            dome, depth = p.dome_y(side), p.angle_depth
            medial = 3 if side == "right" else 8
            self.domes[side] = curve(
                [
                    (0, dome + medial + 3), (0.26 * half, dome + medial), (0.50 * half, dome),
                    (0.68 * half, dome + 0.10 * depth), (0.84 * half, dome + 0.42 * depth),
                    (0.94 * half, dome + 0.85 * depth), (half, dome + 1.25 * depth),
                ],
                smooth=3.5,
            )  # fmt: skip

    def _body(self) -> Field:
        p, c = self.patient, self.canvas
        flesh = 9 + 26 * p.fat
        half = p.chest_half
        trunk = curve(
            [
                (-40, 27 + 5 * p.fat), (14, 25 + 6 * p.fat), (26, 34 + 10 * p.fat), (38, 78 + 8 * p.fat), (48, 112),
                (62, 130 + 8 * p.fat), (84, 138 + 10 * p.fat), (112, 0.5 * (half + flesh) + 66),
                (135, half + flesh + 4), (180, half + flesh), (300, half + flesh + 4 * p.fat),
            ],
            smooth=6,
        )  # fmt: skip
        inside = c.by_row(trunk) - self.away
        girth = 42 + 20 * p.fat
        rim = np.clip(inside / np.float32(girth), 0, 1)
        thickness = np.sqrt(1 - (1 - rim) ** 2)
        by_height = curve([(0, 0.50), (30, 0.56), (60, 0.80), (100, 0.98), (170, 1.06), (256, 1.22)], smooth=14)
        body = thickness * c.by_row(by_height) * np.float32(0.98 + 0.22 * p.fat)
        # The arms hang a little away from the trunk; of raised arms only the upper ends are visible.
        reach = half + flesh + 22
        arm = curve([(-40, 118), (60, 122), (90, reach - 4), (160, reach + 6), (300, reach + 20)], smooth=12)
        within = 21 + 5 * p.fat - np.abs(self.away - c.by_row(arm))
        limb = np.sqrt(np.clip(within / np.float32(21), 0, 1)) * np.float32(0.42) * edge(c.y - 58, 22)
        body = np.maximum(body, limb)
        if p.female:
            body += self._breasts()
        # Folds of axilla and trapezius blur the upper edge of the shoulders.
        fold = edge(c.y - 44, 14) * edge(92 - c.y, 22) * edge(self.away - 70, 14) * edge(inside, 6)
        folded: Field = body + 0.05 * fold
        return folded

    def _breasts(self) -> Field:
        p, size = self.patient, 0.8 + 0.5 * self.patient.fat
        y = p.dome_right_y - 6 + 8 * p.fat
        shadow = np.zeros_like(self.x)
        for sign in (-1, 1):
            radius = self.canvas.ellipse(sign * 0.56 * p.chest_half, y - 22 * size, 36 * size, 34 * size)
            # A hanging hemisphere: thickest at the bottom, with a sharp lower edge, fading upwards.
            ball = np.sqrt(np.clip(1 - radius**2, 0, 1))
            shadow += ball * np.clip((self.canvas.y - (y - 52 * size)) / np.float32(48 * size), 0, 1)
        return shadow * np.float32(0.10 + 0.10 * p.fat)

    def _silhouette(self) -> Field:
        """Heart and great vessels: the share of the depth of the lungs that they fill, 0..1."""
        p, c = self.patient, self.canvas
        width = p.heart_ratio * 2 * p.chest_half
        left = min(0.655 * width, p.chest_half - 5)
        right = width - left
        floor = p.dome_right_y
        waist = floor - 66
        self.left_border = curve(
            [
                (20, 13), (p.apex_y + 16, 16), (p.apex_y + 30, 19 + 6 * p.knob), (p.apex_y + 40, 21 + 8 * p.knob),
                (waist - 14, 20), (waist, 22 + 0.06 * left), (waist + 18, 0.30 * left + 20),
                (floor - 34, 0.84 * left + 3), (floor - 15, 0.985 * left), (floor - 1, left),
                (floor + 14, 0.94 * left), (floor + 40, 0.7 * left),
            ],
            smooth=5.5,
        )  # fmt: skip
        self.right_border = curve(
            [
                (20, 13), (p.apex_y + 20, 17), (waist - 6, 19), (waist + 10, 0.40 * right + 12),
                (floor - 40, 0.90 * right + 2), (floor - 22, right), (floor - 6, 0.98 * right),
                (floor + 12, 0.82 * right), (floor + 40, 0.6 * right),
            ],
            smooth=4.5,
        )  # fmt: skip
        left_edge = edge(c.by_row(self.left_border) - self.x, 1.6)
        right_edge = edge(self.x + c.by_row(self.right_border), 1.6)
        thick = curve([(40, 0.62), (waist, 0.66), (waist + 35, 0.80), (floor, 0.88), (floor + 30, 0.9)], smooth=8)
        # Thicker towards the middle: a soft border and a dense centre.
        reach = c.by_row(self.left_border) + c.by_row(self.right_border)
        middle = (c.by_row(self.left_border) - c.by_row(self.right_border)) / 2
        bulge = 1 - np.clip(np.abs(self.x - middle) / (reach / 2), 0, 1) ** 2
        return left_edge * right_edge * c.by_row(thick) * (0.80 + 0.20 * bulge)

    def _lung_field(self) -> Field:
        """The lung area, 0..1: inside the chest wall and above the diaphragm."""
        c = self.canvas
        depth = c.by_row(self.wall) - self.away
        rim = np.clip(depth / np.float32(46), 0, 1)
        profile = np.sqrt(1 - (1 - rim) ** 2)
        left = c.by_column(self.domes["left"], self.away)
        right = c.by_column(self.domes["right"], self.away)
        self.floor = right + (left - right) * edge(self.x, 24)
        above = edge(self.floor - c.y, 1.3)
        apex = self.patient.apex_y + np.clip((self.away - 33) / np.float32(13), -1.6, 1.6) ** 2 * 2.5
        field: Field = profile * above * edge(c.y - apex, 5)
        return field

    def _lungs(self) -> Field:
        c = self.canvas
        depth = c.by_row(curve([(30, 0.34), (60, 0.55), (100, 0.68), (150, 0.72), (190, 0.70)], smooth=10))
        air = self.field * depth * (1 - self.heart)
        # Lung behind the dome: a faint lucency below it.
        behind = edge(self.floor + 16 - c.y, 14) * edge(c.by_row(self.wall) - self.away, 14) * (1 - self.heart)
        air += 0.07 * behind * edge(c.y - self.floor, 3)
        self.vessels = self._vessels()
        air -= self.vessels * np.clip(self.field, 0, 1) * (1 - 0.8 * self.heart)
        # Trachea and main bronchi, visible through the mediastinum.
        carina = self.patient.apex_y + 56
        tube = edge(6.2 - np.abs(self.x - self.midline - 1), 3) * edge(carina - c.y, 8) * edge(c.y + 30, 10)
        layer = c.strokes()
        layer.line([(1, carina - 6), (-15, carina + 11)], 7.5, 1)
        layer.line([(1, carina - 6), (20, carina + 13)], 6.5, 1)
        air += 0.13 * np.maximum(tube, 0.75 * blur(layer.field(), 1.6))
        return air + self._stomach()

    def _stomach(self) -> Field:
        y = self.patient.dome_left_y + self.rng.uniform(13, 20)
        x, wide = self.rng.uniform(38, 52), self.rng.uniform(9, 17)
        bubble = self.canvas.disc(
            x, y, wide, wide * self.rng.uniform(0.5, 0.8), soft=5, turn_deg=self.rng.uniform(-15, 15)
        )
        return bubble * np.float32(self.rng.uniform(0.0, 0.26)) * edge(self.canvas.y - self.floor - 3, 2)

    def _vessels(self) -> Field:
        """Pulmonary arteries and veins that branch from the hila, thinner and fainter outwards."""
        layer, lines = self.canvas.strokes(), list[Line]()
        hilum_y = self.patient.apex_y + 66
        for sign, y in ((-1, hilum_y + 6), (1, hilum_y)):
            root = sign * 21.0
            for angle in (-82, -58, -36, -14, 6, 24, 42, 58, 72, 84):
                bearing = angle + self.rng.uniform(-9, 9)
                start = (root + sign * self.rng.uniform(-3, 3), y + self.rng.uniform(-7, 9) + 0.08 * angle)
                lines += branch(self.rng, sign, start, bearing, self.rng.uniform(30, 44))
        layer.lines(lines)
        tree = blur(layer.field(), 0.7)
        hila = np.zeros_like(self.x)
        for sign, y in ((-1, hilum_y + 6), (1, hilum_y)):
            hila = hila + self.canvas.disc(sign * 23, y, 8, 15, soft=12, turn_deg=-sign * 18)
        markings: Field = 0.105 * tree + 0.13 * hila + 0.010 * clouds(self.rng, 5) + 0.012 * clouds(self.rng, 12)
        return markings

    def _skeleton(self) -> Field:
        p = self.patient
        back, front = self.canvas.strokes(), self.canvas.strokes()
        for sign in (-1, 1):
            for number in range(10):
                _rib(self, back, front, number, sign)
        ribs = blur(0.17 * back.field() + 0.10 * front.field() * edge(self.away - 34, 24), 0.6)
        ribs *= 0.35 + 0.65 * np.clip(self.field * 1.6, 0, 1)
        # Along the inner wall the ribs are seen end-on and add up.
        ribs += (
            0.07
            * edge(5 - np.abs(self.canvas.by_row(self.wall) + 1.5 - self.away), 5)
            * edge(self.canvas.y - p.apex_y - 12, 12)
        )
        return (ribs + self._spine() + self._shoulders()) * np.float32(p.bone)

    def _spine(self) -> Field:
        x = self.x - self.midline
        period = 13.0 + 0.022 * np.clip(self.canvas.y, 0, 256)
        phase = (self.canvas.y + 4) / period
        step = np.abs(phase - np.round(phase)) * 2
        column = edge(11.5 - np.abs(x), 4)
        bodies = 0.10 + 0.035 * edge(step - 0.28, 0.25)
        pedicles = edge(3.2 - np.sqrt((np.abs(x) - 7.5) ** 2 + ((step - 0.72) * 6) ** 2), 2.2)
        spinous = edge(1.8 - np.abs(x), 1.5) * edge(step - 0.5, 0.3)
        processes = edge(20 - np.abs(x), 7) * edge(step - 0.62, 0.35)
        spine: Field = column * bodies + 0.035 * pedicles + 0.03 * spinous + 0.022 * processes
        return spine

    def _shoulders(self) -> Field:
        p, rng = self.patient, self.rng
        layer, blades = self.canvas.strokes(), self.canvas.strokes()
        lift = rng.uniform(-4, 5)
        collar = p.apex_y + 19
        for sign in (-1, 1):
            tilt = lift + rng.uniform(-2.5, 2.5)
            t = np.linspace(0, 1, 18)
            xs = 9 + 88 * t
            ys = collar - (10 + tilt) * t - 5.5 * np.sin(2 * math.pi * t * 0.92) * (1 - 0.4 * t)
            widths = 6.0 + 3.0 * (1 - t) ** 3 + 2 * t**4
            layer.band(np.stack([sign * xs, ys], axis=1), widths, fill=0.50, rim=0.95)
            top = p.apex_y + 8 - tilt
            blade = [
                (97, top + 6),
                (112, top + 16),
                (100, top + 40),
                (88, top + 76),
                (80, top + 84),
                (76, top + 70),
                (76, top + 34),
                (82, top + 12),
            ]
            outline = [(sign * (x + 0.14 * (p.chest_half - 90)), y) for x, y in blade]
            blades.polygon(outline, 0.32)
            blades.line([*outline, outline[0]], 1.4, 0.8)
            blades.line([(sign * 80, top + 24), (sign * 112, top + 6)], 4.5, 0.85)
            head = [
                (sign * (117 + 12 * math.cos(a)), top + 20 + 12 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 24)
            ]
            shaft = [(sign * x, y) for x, y in ((108, top + 24), (127, top + 24), (132, top + 120), (121, top + 120))]
            for part in (shaft, head):
                layer.polygon(part, 0.5)
                layer.line([*part, part[0]], 1.2, 0.85)
        return 0.24 * blur(layer.field(), 0.6) + 0.14 * blur(blades.field(), 1.1)


def _rib(chest: FrontalChest, back: Strokes, front: Strokes, number: int, sign: int) -> None:
    """Draw one rib: from the spine up and outwards, around the wall, and down at the front to its cartilage."""
    p = chest.patient
    y = p.apex_y - 1 + number * (14.2 + 0.10 * number) * (p.dome_right_y - p.apex_y + 40) / 180
    t = np.linspace(0, 1, 22)
    drop = (13 + 2.6 * number) * p.rib_slope
    turn_y = y + drop
    outer = chest.wall_x(turn_y) + 1.5
    xs = 9 + (outer - 9) * np.sin(t * math.pi / 2) ** 0.92
    ys = y - 5.5 * np.sin(math.pi * np.clip(t * 1.5, 0, 1)) + drop * t**2.3
    back.band(np.stack([sign * xs, ys], axis=1), 5.0 + 1.4 * t, fill=0.55, rim=0.92)
    if number < 7:
        s = np.linspace(0, 1, 18)
        inner = 26 + 3.5 * number
        fx = outer - (outer - inner) * (1 - np.cos(s * math.pi / 2)) ** 0.75
        fy = turn_y + (17 + 1.2 * number) * np.sin(s * math.pi / 2) * p.rib_slope + 2 * s
        front.band(np.stack([sign * fx, fy], axis=1), 6.0 + 1.5 * s, fill=0.55, rim=0.85)
