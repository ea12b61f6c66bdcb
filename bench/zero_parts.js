/** Zeros of any length, some megabytes at a time. */
const zeros = new Uint8Array(1 << 24)

export function* zeroParts(bytes) {
  for (let left = bytes; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length))
}

export const elementCount = ({ shape }) => shape.reduce((a, b) => a * b, 1)
