"""Draws findings into a PA film. Heart size and diaphragm height come from the patient; other findings are added here."""

from __future__ import annotations

import math

import numpy as np

from archives.phantoms.canvas import Points, blur, clouds, curve, edge
from archives.phantoms.findings import Finding, LungSide
from archives.phantoms.frontal import FrontalChest

# Centre and half axes of each lobe. x: distance from the midline as a share of half the chest width; y: height as a share
# of the distance from apex to dome.
_LOBES = {
    "upper lobe": (0.52, 0.33, 0.27, 0.20),
    "middle lobe": (0.47, 0.80, 0.25, 0.14),
    "lingula": (0.66, 0.78, 0.22, 0.16),
    "lower lobe": (0.62, 0.90, 0.30, 0.17),
}


def show_findings(chest: FrontalChest) -> None:
    """Draw the patient's findings into the layers of `chest`, fluid and air first, devices on top."""
    for finding in chest.patient.findings:
        match finding.kind:
            case "pneumothorax":
                _pneumothorax(chest, finding)
            case "consolidation":
                _consolidation(chest, finding)
            case "nodule":
                _nodule(chest, finding)
            case "atelectasis":
                _atelectasis(chest, finding)
            case "hernia":
                _hernia(chest, finding)
            case "effusion":
                _effusion(chest, finding)
            case "catheter":
                _catheter(chest, finding)
            case "pacemaker":
                _pacemaker(chest, finding)
            case "cardiomegaly":
                pass


def _sides(finding: Finding) -> list[LungSide]:
    return [side for side in ("right", "left") if finding.on(side)]


def _sign(side: str) -> int:
    return 1 if side == "left" else -1


def _lobe(chest: FrontalChest, finding: Finding) -> tuple[float, float, float, float]:
    """Centre x, y and half axes of the finding's lobe, in body pixels."""
    p, side = chest.patient, "left" if finding.side == "left" else "right"
    share_x, share_y, half_x, half_y = _LOBES[finding.site]
    height = (p.dome_left_y if side == "left" else p.dome_right_y) - p.apex_y
    return (_sign(side) * share_x * p.chest_half, p.apex_y + share_y * height, half_x * p.chest_half, half_y * height)


def _effusion(chest: FrontalChest, finding: Finding) -> None:
    """Draw fluid with a meniscus, which rises along the wall and hides diaphragm and costophrenic angle."""
    p, rng = chest.patient, chest.rng
    for side in _sides(finding):
        dome, half = p.dome_y(side), p.chest_half
        if finding.grade == "large":
            level = dome - rng.uniform(38, 68)
            climb = rng.uniform(16, 26)
            knots: Points = [
                (0, level + 4),
                (0.45 * half, level),
                (0.75 * half, level - 0.3 * climb),
                (half, level - climb),
            ]
        else:
            level = dome - rng.uniform(3, 12)
            climb = rng.uniform(12, 20)
            knots = [
                (0, dome + 40),
                (0.40 * half, dome + 12),
                (0.62 * half, level + 5),
                (0.80 * half, level - 4),
                (half, level - climb),
            ]
        surface = chest.canvas.by_column(curve(knots, smooth=5), chest.away)
        fluid = edge(chest.canvas.y - surface, 4.5) * chest.sided(side)
        chest.air *= 1 - np.float32(0.92) * fluid
        chest.bone *= 1 - np.float32(0.55) * fluid * edge(chest.away - 14, 10)
        # Below the diaphragm fluid adds no visible density; above it, it is as white as the liver.
        chest.soft += (
            np.float32(0.05) * fluid * edge(chest.floor + 8 - chest.canvas.y, 8) * np.clip(chest.field * 2, 0, 1)
        )


def _pneumothorax(chest: FrontalChest, finding: Finding) -> None:
    """Draw a dark rim without vessels outside the thin white line of the visceral pleura; the lung shrinks."""
    p, c, rng = chest.patient, chest.canvas, chest.rng
    side: LungSide = "left" if finding.side == "left" else "right"
    squeeze_x, squeeze_y = (rng.uniform(0.80, 0.86), rng.uniform(0.82, 0.88)) if finding.grade == "small" else (
        rng.uniform(0.50, 0.68), rng.uniform(0.62, 0.78))  # fmt: skip
    # The lung shrinks towards the lower hilum: all points are scaled about it.
    root_x, root_y = 0.20 * p.chest_half, p.dome_y(side) + 2
    before_x = root_x + (chest.away - root_x) / np.float32(squeeze_x)
    before_y = root_y + (c.y - root_y) / np.float32(squeeze_y)
    tip = p.apex_y + 5 * np.clip((36 - before_x) / np.float32(20), 0, 2) ** 2
    inside = np.minimum(
        (c.at(chest.wall, before_y) - before_x) * np.float32(squeeze_x), (before_y - tip) * np.float32(squeeze_y)
    )
    here = chest.sided(side)
    cavity = np.clip(chest.field * 1.6, 0, 1) * here * (1 - np.clip(chest.heart * 1.2, 0, 1))
    rim = cavity * edge(-inside, 1.0)
    chest.air += rim * np.clip(chest.field, 0, 1) * chest.vessels
    chest.air += np.float32(0.17) * rim
    line = edge(1.1 - np.abs(inside), 0.8) * cavity
    chest.soft += np.float32(0.13) * line
    lung = cavity * (1 - edge(-inside, 1.0))
    chest.air *= 1 - np.float32(0.10 if finding.grade == "small" else 0.22) * lung


def _consolidation(chest: FrontalChest, finding: Finding) -> None:
    """Draw a patchy cloud in one lobe, sharp at a fissure, with an air bronchogram."""
    c, rng = chest.canvas, chest.rng
    x, y, half_x, half_y = _lobe(chest, finding)
    radius = c.ellipse(
        x + rng.uniform(-5, 5),
        y + rng.uniform(-4, 4),
        half_x * rng.uniform(0.95, 1.2),
        half_y * rng.uniform(0.95, 1.2),
        turn_deg=rng.uniform(-20, 20),
    )
    ragged = 0.20 * clouds(rng, 20) + 0.07 * clouds(rng, 8)
    cloud = edge((1 - radius + ragged) * np.float32(22), 15)
    if finding.site == "upper lobe" and finding.side == "right" and rng.random() < 0.7:
        cloud *= edge(y + 0.75 * half_y + 0.05 * chest.away - c.y, 2)  # the minor fissure
    cloud *= np.float32(rng.uniform(0.66, 0.84)) * np.clip(1 + 0.10 * clouds(rng, 9), 0, 1.2)
    layer = c.strokes()
    for _ in range(3):
        bearing, start = (rng.uniform(0, 2 * math.pi), (x + rng.uniform(-6, 6), y + rng.uniform(-6, 6)))
        layer.line([start, (start[0] + 15 * math.cos(bearing), start[1] + 11 * math.sin(bearing))], 1.7, 1)
    cloud *= 1 - 0.45 * blur(layer.field(), 0.7)
    chest.air *= 1 - np.clip(cloud * chest.sided("left" if finding.side == "left" else "right"), 0, 0.95)


def _nodule(chest: FrontalChest, finding: Finding) -> None:
    """Draw a round opacity of 1.5 to 3 cm (6.5 pixels per centimetre); a possible nodule is small and faint."""
    c, rng = chest.canvas, chest.rng
    x, y, half_x, half_y = _lobe(chest, finding)
    x += rng.uniform(-0.35, 0.35) * half_x
    y += rng.uniform(-0.7, 0.45) * half_y
    y = min(y, chest.diaphragm_y("left" if finding.side == "left" else "right", abs(x)) - 13)
    radius = rng.uniform(5.0, 6.5) if finding.grade == "small" else rng.uniform(7.0, 10.0)
    strength = rng.uniform(0.24, 0.32) if finding.sure else rng.uniform(0.14, 0.18)
    shape = c.ellipse(x, y, radius, radius * rng.uniform(0.88, 1.12), turn_deg=rng.uniform(0, 90))
    shape += 0.04 * clouds(rng, 5)
    ball = edge((1 - shape) * np.float32(radius), 1.5) * (0.55 + 0.45 * np.sqrt(np.clip(1 - shape**2, 0, 1)))
    chest.soft += np.float32(strength) * ball


def _atelectasis(chest: FrontalChest, finding: Finding) -> None:
    """Draw plates of collapsed lung above a raised diaphragm."""
    c, rng = chest.canvas, chest.rng
    layer = c.strokes()
    for side in _sides(finding):
        p, sign = chest.patient, _sign(side)
        height = p.dome_y(side) - rng.uniform(8, 12)
        for _ in range(int(rng.integers(2, 4))):
            inner = rng.uniform(0.30, 0.44) * p.chest_half
            outer = min(inner + rng.uniform(34, 48), 0.93 * p.chest_half)
            slope, sag = rng.uniform(-9, 5), rng.uniform(-3, 4)
            t = np.linspace(0, 1, 9)
            ys = height + slope * t + sag * np.sin(math.pi * t)
            layer.line(
                [(sign * (inner + (outer - inner) * float(a)), float(b)) for a, b in zip(t, ys, strict=True)],
                rng.uniform(2.6, 4.4),
                rng.uniform(0.75, 1),
            )
            height -= rng.uniform(8, 13)
    chest.soft += np.float32(0.36) * blur(layer.field(), 1.0) * np.clip(chest.field * 1.5, 0, 1)


def _hernia(chest: FrontalChest, finding: Finding) -> None:
    """Draw a stomach behind the heart: a round wall, air above a fluid level."""
    rng, p = chest.rng, chest.patient
    size = rng.uniform(20, 27) if finding.grade == "large" else rng.uniform(14, 17)
    c, x, y = chest.canvas, rng.uniform(0, 12), p.dome_right_y - 0.62 * size + 2
    radius = c.ellipse(x, y, size * rng.uniform(1.02, 1.25), size, turn_deg=rng.uniform(-25, 25)) + 0.05 * clouds(
        rng, 28
    )
    inside = edge((1 - radius) * np.float32(size), 2.2)
    level = y + size * rng.uniform(-0.15, 0.3)
    gas = edge((0.93 - radius) * np.float32(size), 2.0) * edge(level - c.y, 1.0)
    chest.air *= 1 - np.float32(0.85) * inside
    chest.soft += np.float32(0.07) * inside
    chest.air += np.float32(rng.uniform(0.26, 0.38)) * gas


def _catheter(chest: FrontalChest, finding: Finding) -> None:
    """Draw a central line, or a port with a reservoir on the chest wall; the tip is at the cavoatrial junction."""
    p, rng, sign = chest.patient, chest.rng, _sign(finding.side)
    layer = chest.canvas.strokes()
    cava = [(-16.0, p.apex_y + 52), (-17.0, p.apex_y + 74), (-18.0, p.apex_y + rng.uniform(82, 100))]
    collar = p.apex_y + 20
    crossing = [(sign * 34.0, collar + 1), (sign * 20.0, collar + 7)] + ([(4.0, collar + 17)] if sign > 0 else [])
    if finding.site == "port":
        x, y = sign * rng.uniform(54, 66), p.apex_y + rng.uniform(46, 62)
        route = [(x - sign * 2, y - 9), (sign * 58.0, collar + 6), (sign * 48.0, collar - 1), *crossing, *cava]
        ring = [(x + 8.5 * math.cos(a), y + 8.5 * math.sin(a)) for a in np.linspace(0, 2 * math.pi, 30)]
        layer.polygon(ring, 0.62)
        layer.line([*ring, ring[0]], 2.6, 1)
    elif rng.random() < 0.5:
        route = [(sign * 30.0, -20.0), (sign * 24.0, 8.0), (sign * 19.0, collar - 4), *crossing[1:], *cava]
    else:
        route = [
            (sign * 124.0, collar + 60),
            (sign * 104.0, collar + 26),
            (sign * 78.0, collar + 7),
            (sign * 54.0, collar + 2),
            *crossing,
            *cava,
        ]
    layer.line(smooth_path(route), 2.0, 1)
    chest.device += np.float32(0.42) * blur(layer.field(), 0.5)


def _pacemaker(chest: FrontalChest, finding: Finding) -> None:
    """Draw a pulse generator below the clavicle, with leads to the right atrium and ventricle."""
    p, rng, sign = chest.patient, chest.rng, _sign(finding.side)
    layer, can = chest.canvas.strokes(), chest.canvas.strokes()
    x, y = sign * rng.uniform(60, 72), p.apex_y + rng.uniform(34, 48)
    wide, tall = rng.uniform(12, 14.5), rng.uniform(9.5, 12)
    turn = np.linspace(0, 2 * math.pi, 40)
    corner = (np.abs(np.cos(turn)) ** 0.6 * np.sign(np.cos(turn)), np.abs(np.sin(turn)) ** 0.6 * np.sign(np.sin(turn)))
    shell = [(x + wide * float(a), y + tall * float(b)) for a, b in zip(*corner, strict=True)]
    can.polygon(shell, 0.85)
    can.line([*shell, shell[0]], 1.5, 1)
    can.polygon([(a * 0.4 + 0.6 * x, b * 0.4 + 0.6 * (y + 0.4 * tall)) for a, b in shell], 1)
    layer.line([(x - sign * 8, y - tall), (x + sign * 4, y - tall)], 5, 1)
    collar, floor = p.apex_y + 20, p.dome_right_y
    entry = [(x - sign * 8, y - tall), (sign * 44.0, collar + 4), (sign * 26.0, collar + 5)]
    down = ([(6.0, collar + 14)] if sign > 0 else []) + [(-13.0, collar + 32), (-17.0, collar + 66)]
    atrium = [(-21.0, floor - 42), (-26.0, floor - 30), (-30.0, floor - 42)]
    ventricle = [(-17.0, floor - 34), (-4.0, floor - 14), (0.40 * p.heart_ratio * 2 * p.chest_half, floor - 8.0)]
    for target in (atrium, ventricle):
        layer.line(smooth_path([*entry, *down, *target]), 1.7, 0.9)
        layer.line([target[-1], (target[-1][0] - 2.0, target[-1][1] + 1.5)], 3.0, 1)
    chest.device += np.float32(0.40) * blur(layer.field(), 0.5) + np.float32(0.75) * blur(can.field(), 0.5)


def smooth_path(points: Points) -> list[tuple[float, float]]:
    """The points joined by a Catmull-Rom spline, with eight pieces between neighbours."""
    line = np.array(points)
    padded = np.vstack([2 * line[0] - line[1], line, 2 * line[-1] - line[-2]])
    path = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        for t in np.linspace(0, 1, 8, endpoint=False):
            path.append(
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            )
    return [(float(x), float(y)) for x, y in [*path, line[-1]]]
