"""Files of VTK for ParaView, as XML with zlib-compressed arrays: image data (.vti), points (.vtp), series in time (.pvd)."""

import zlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

TYPES = {"f4": "Float32", "f8": "Float64", "i1": "Int8", "u1": "UInt8", "i4": "Int32", "i8": "Int64", "u8": "UInt64"}


def _array(name: str, values: np.ndarray, components: int = 1) -> str:
    """Return a DataArray: a header of block sizes and the compressed block, both in base 64."""
    values = np.ascontiguousarray(values.astype("u1") if values.dtype == bool else values)
    kind = values.dtype.str[1:]
    raw = values.astype(f"<{kind}").tobytes()
    packed = zlib.compress(raw, 6)
    header = np.array([1, len(raw), 0, len(packed)] if raw else [0, 0, 0], "<u8").tobytes()  # one block, none partial
    text = (b64encode(header) + (b64encode(packed) if raw else b"")).decode()
    width = f' NumberOfComponents="{components}"' if components > 1 else ""
    return f'<DataArray type="{TYPES[kind]}" Name={quoteattr(name)}{width} format="binary">{text}</DataArray>'


def _file(kind: str, body: Sequence[str]) -> bytes:
    head = f'<VTKFile type="{kind}" version="1.0" byte_order="LittleEndian" header_type="UInt64"'
    head += "" if kind == "Collection" else ' compressor="vtkZLibDataCompressor"'
    return "\n".join(['<?xml version="1.0"?>', head + ">", *body, "</VTKFile>", ""]).encode()


def write_image(volumes: Mapping[str, np.ndarray], spacing: Sequence[float]) -> bytes:
    """Return a .vti: a value a voxel of each volume.

    Parameters
    ----------
    volumes : mapping of str to ndarray, shape (nz, ny, nx)
    spacing : sequence of float
        Edges of a voxel along x, y and z (um); the corner of voxel (0, 0, 0) is the origin.
    """
    nz, ny, nx = next(iter(volumes.values())).shape
    extent, edges = f"0 {nx} 0 {ny} 0 {nz}", " ".join(f"{edge:g}" for edge in spacing)
    arrays = [_array(name, volume) for name, volume in volumes.items()]  # in C order x runs fastest, as VTK wants it
    return _file("ImageData", [
        f'<ImageData WholeExtent="{extent}" Origin="0 0 0" Spacing="{edges}">', f'<Piece Extent="{extent}">',
        "<CellData>", *arrays, "</CellData>", "</Piece>", "</ImageData>",
    ])  # fmt: skip


def write_points(places: np.ndarray, columns: Mapping[str, np.ndarray]) -> bytes:
    """Return a .vtp: points at `places`, shape (n, 3), as x, y and z (um), with columns of values."""
    n = len(places)
    ends = np.arange(1, n + 1, dtype="i8")
    return _file("PolyData", [
        "<PolyData>", f'<Piece NumberOfPoints="{n}" NumberOfVerts="{n}">',
        "<PointData>", *(_array(name, values) for name, values in columns.items()), "</PointData>",
        "<Points>", _array("Points", places.astype("f4"), 3), "</Points>",
        "<Verts>", _array("connectivity", ends - 1), _array("offsets", ends), "</Verts>", "</Piece>", "</PolyData>",
    ])  # fmt: skip


def write_series(files: Iterable[tuple[float, str]]) -> bytes:
    """Return a .pvd: the file that holds at each time (h)."""
    sets = [f'<DataSet timestep="{time:.10g}" part="0" file={quoteattr(name)}/>' for time, name in files]
    return _file("Collection", ["<Collection>", *sets, "</Collection>"])
