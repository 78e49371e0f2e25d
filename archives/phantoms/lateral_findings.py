"""Draws findings into a lateral film. Both lungs overlap, so a finding in one of them has half the contrast."""

from __future__ import annotations

import math

import numpy as np

from archives.phantoms.canvas import Points, blur, clouds, curve, edge
from archives.phantoms.findings import Finding
from archives.phantoms.frontal_findings import smooth_path
from archives.phantoms.lateral import LateralChest

# Centre and half axes of each lobe in a chest of average depth; y as a share of the distance from apex to dome.
_LOBES = {
    "upper lobe": (112.0, 0.32, 27.0, 0.18),
    "middle lobe": (86.0, 0.76, 24.0, 0.14),
    "lingula": (84.0, 0.78, 24.0, 0.14),
    "lower lobe": (166.0, 0.92, 24.0, 0.22),
}


def show_findings(chest: LateralChest) -> None:
    """Draw the patient's findings into the layers of `chest`."""
    for finding in chest.patient.findings:
        match finding.kind:
            case "pneumothorax":
                _pneumothorax(chest, finding)
            case "consolidation":
                _consolidation(chest, finding)
            case "nodule":
                _nodule(chest, finding)
            case "atelectasis":
                _atelectasis(chest)
            case "hernia":
                _hernia(chest, finding)
            case "effusion":
                _effusion(chest, finding)
            case "catheter":
                _catheter(chest, finding)
            case "pacemaker":
                _pacemaker(chest)
            case "cardiomegaly":
                pass


def _lobe(chest: LateralChest, finding: Finding) -> tuple[float, float, float, float]:
    p = chest.patient
    x, share, half_x, half_share = _LOBES[finding.site]
    height = p.dome_right_y - p.apex_y
    return (chest.place(x), p.apex_y + share * height, half_x * p.depth, half_share * height)


def _effusion(chest: LateralChest, finding: Finding) -> None:
    p, rng, c = chest.patient, chest.rng, chest.canvas
    floor = chest.diaphragm_y(190)
    if finding.grade == "large":
        level = p.dome_right_y - rng.uniform(14, 36)
        knots: Points = [(50, level - 8), (70, level + 4), (150, level), (190, level - 8), (212, level - 26)]
    else:
        knots = [
            (50, 300),
            (130, p.dome_right_y + 42),
            (160, floor - 6),
            (180, floor - 24),
            (198, floor - 36),
            (212, floor - 52),
        ]
    surface = c.by_column(curve(knots, smooth=6), chest.x)
    strength = 0.88 if finding.side == "bilateral" else 0.66
    fluid = edge(c.y - surface, 5) * np.float32(strength)
    chest.air *= 1 - fluid
    chest.bone *= 1 - 0.35 * fluid


def _pneumothorax(chest: LateralChest, finding: Finding) -> None:
    p, rng = chest.patient, chest.rng
    gap = rng.uniform(12, 17) if finding.grade == "small" else rng.uniform(22, 34)
    # Depth below the chest surface. A harmonic mean instead of the smallest distance rounds the corners.
    depth = sum(
        1 / np.clip(away, 2, None) ** 3
        for away in (chest.from_front, chest.from_back, (chest.canvas.y - p.apex_y - 4) * np.float32(0.85))
    ) ** np.float32(-1 / 3)
    depth = depth + np.float32(0.22) * np.clip(chest.canvas.y - p.apex_y - 60, 0, None)
    cavity = np.clip(chest.field * 1.6, 0, 1) * (1 - 0.8 * chest.heart)
    rim = edge(gap - depth, 1.4) * cavity
    chest.air += 0.12 * rim + 0.5 * rim * np.clip(chest.field, 0, 1) * chest.vessels
    chest.soft += np.float32(0.12) * edge(1.1 - np.abs(depth - gap), 0.8) * cavity
    chest.air *= 1 - 0.08 * cavity * (1 - rim)


def _consolidation(chest: LateralChest, finding: Finding) -> None:
    c, rng = chest.canvas, chest.rng
    x, y, half_x, half_y = _lobe(chest, finding)
    radius = c.ellipse(x + rng.uniform(-4, 4), y + rng.uniform(-4, 4), half_x, half_y, turn_deg=rng.uniform(-15, 15))
    cloud = edge((1 - radius + 0.20 * clouds(rng, 20) + 0.07 * clouds(rng, 8)) * np.float32(22), 15)
    cloud *= np.float32(rng.uniform(0.50, 0.62)) * np.clip(1 + 0.10 * clouds(rng, 9), 0, 1.2)
    chest.air *= 1 - np.clip(cloud, 0, 0.9)
    # The airless lobe hides the edge of the heart and the vessels.
    chest.soft += 0.05 * cloud * np.clip(chest.field, 0, 1)


def _nodule(chest: LateralChest, finding: Finding) -> None:
    c, rng = chest.canvas, chest.rng
    x, y, half_x, half_y = _lobe(chest, finding)
    x += rng.uniform(-0.3, 0.3) * half_x
    y = min(y + rng.uniform(-0.6, 0.2) * half_y, chest.diaphragm_y(x) - 12)
    radius = rng.uniform(5.0, 6.5) if finding.grade == "small" else rng.uniform(7.0, 10.0)
    strength = rng.uniform(0.22, 0.29) if finding.sure else rng.uniform(0.12, 0.16)
    shape = c.ellipse(x, y, radius, radius * rng.uniform(0.88, 1.12)) + 0.04 * clouds(rng, 5)
    ball = edge((1 - shape) * np.float32(radius), 1.5) * (0.55 + 0.45 * np.sqrt(np.clip(1 - shape**2, 0, 1)))
    chest.soft += np.float32(strength) * ball


def _atelectasis(chest: LateralChest) -> None:
    rng, layer = chest.rng, chest.canvas.strokes()
    for _ in range(int(rng.integers(2, 4))):
        start, length, slope, lift = (
            rng.uniform(118, 140),
            rng.uniform(32, 46),
            rng.uniform(-0.2, 0.3),
            rng.uniform(10, 26),
        )
        t = np.linspace(0, 1, 7)
        ys = chest.diaphragm_y(start + length / 2) - lift + slope * length * (t - 0.5) + 2 * np.sin(math.pi * t)
        points = [(chest.place(start + length * float(a)), float(b)) for a, b in zip(t, ys, strict=True)]
        layer.line(points, rng.uniform(2.5, 4.0), rng.uniform(0.75, 1))
    chest.soft += np.float32(0.38) * blur(layer.field(), 1.0) * np.clip(chest.field * 1.5, 0, 1)


def _hernia(chest: LateralChest, finding: Finding) -> None:
    c, rng = chest.canvas, chest.rng
    size = rng.uniform(19, 25) if finding.grade == "large" else rng.uniform(13, 16)
    x = chest.place(rng.uniform(144, 154))
    y = chest.diaphragm_y(148) - 0.55 * size
    level = y + rng.uniform(-0.1, 0.25) * size
    radius = c.ellipse(x, y, size * 1.1, size, turn_deg=rng.uniform(-25, 25)) + 0.05 * clouds(rng, 28)
    inside = edge((1 - radius) * np.float32(size), 2.2)
    gas = edge((0.93 - radius) * np.float32(size), 2.0) * edge(level - c.y, 1.0)
    chest.air *= 1 - np.float32(0.66) * inside
    chest.air += np.float32(0.30) * gas


def _catheter(chest: LateralChest, finding: Finding) -> None:
    p, rng, layer = chest.patient, chest.rng, chest.canvas.strokes()
    top = p.apex_y
    route: Points = [(118, top + 22), (114, top + 46), (116, top + 68), (115, top + rng.uniform(84, 98))]
    if finding.site == "port":
        x, y = chest.front_x(top + 60) - 8, top + 58
        route = [(x, y - 8), (x + 8, top + 30), (100, top + 14), *route]
        plate = [(x - 3, y - 8), (x + 3, y - 8), (x + 3, y + 8), (x - 3, y + 8)]
        layer.polygon([(chest.place(a), b) for a, b in plate], 1)
    else:
        route = [(124, -20), (124, 10), *route]
    layer.line([(chest.place(a), b) for a, b in smooth_path(route)], 2.0, 1)
    chest.device += np.float32(0.42) * blur(layer.field(), 0.5)


def _pacemaker(chest: LateralChest) -> None:
    p, rng, layer, can = (chest.patient, chest.rng, chest.canvas.strokes(), chest.canvas.strokes())
    top, floor = p.apex_y, p.dome_right_y
    x, y = chest.front_x(top + 48) - 6, top + rng.uniform(40, 50)
    can.polygon(
        [(chest.place(a), b) for a, b in ((x - 3, y - 12), (x + 5, y - 14), (x + 6, y + 9), (x - 3, y + 12))], 1
    )
    entry: Points = [(x + 2, y - 13), (98, top + 12), (116, top + 26), (114, top + 56)]
    for target in (
        [(110, floor - 48), (100, floor - 40), (94, floor - 50)],
        [(112, floor - 42), (98, floor - 18), (62, floor - 8)],
    ):
        path = [(chest.place(float(a)), float(b)) for a, b in smooth_path([*entry, *target])]
        layer.line(path, 1.7, 0.9)
        layer.line([path[-1], (path[-1][0] + 2, path[-1][1] + 1)], 3, 1)
    chest.device += np.float32(0.40) * blur(layer.field(), 0.5) + np.float32(0.75) * blur(can.field(), 0.5)
