"""Makes small_floats.json: the values of all codes of every small float type, by ml_dtypes 0.6.0.

  python make_small_floats.py

NaN is null, infinities are text. `packed` holds F6 and F4 codes as one stream of bits, the first in the lowest bits,
packed here with Python's large integers.
"""
import json
import math
import pathlib

import ml_dtypes
import numpy as np

TYPES = {
    "F8_E4M3": (ml_dtypes.float8_e4m3fn, 8),
    "F8_E5M2": (ml_dtypes.float8_e5m2, 8),
    "F8_E4M3FNUZ": (ml_dtypes.float8_e4m3fnuz, 8),
    "F8_E5M2FNUZ": (ml_dtypes.float8_e5m2fnuz, 8),
    "F8_E8M0": (ml_dtypes.float8_e8m0fnu, 8),
    "F6_E2M3": (ml_dtypes.float6_e2m3fn, 6),
    "F6_E3M2": (ml_dtypes.float6_e3m2fn, 6),
    "F4": (ml_dtypes.float4_e2m1fn, 4),
}


def plain(x):
    return None if math.isnan(x) else x if math.isfinite(x) else "Infinity" if x > 0 else "-Infinity"


values, packed = {}, {}
for name, (dtype, bits) in TYPES.items():
    codes = np.arange(2**bits, dtype=np.uint8)
    values[name] = [plain(float(x)) for x in codes.view(dtype).astype(np.float64)]
    if bits < 8:
        stream = sum(int(code) << (bits * i) for i, code in enumerate(codes))
        packed[name] = stream.to_bytes(2**bits * bits // 8, "little").hex()
out = pathlib.Path(__file__).parent / "small_floats.json"
text = ",\n".join(f' "{name}": {json.dumps(row)}' for name, row in values.items())
out.write_text(f'{{\n"values": {{\n{text}\n}},\n"packed": {json.dumps(packed, indent=1)}\n}}\n')
