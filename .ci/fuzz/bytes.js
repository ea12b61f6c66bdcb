/** Damage that needs no knowledge of a format: flips, cuts, pieces twice, numbers of any width blown up. */
import { numbers } from './hostile_values.js'

/** Mostly near the beginning, where headers are; sometimes near the end, where directories are. */
export function placeIn(length, random) {
  if (length === 0) return 0
  switch (random.below(4)) {
    case 0:
      return random.below(length)
    case 1:
      return length - 1 - random.below(Math.min(length, 200))
    default:
      return random.below(Math.min(length, random.pick([16, 64, 1024, 4096])))
  }
}

const join = (...parts) => {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export { join as joinBytes }

/** Little-endian base 128. */
export function varint(value) {
  const bytes = []
  let rest = BigInt.asUintN(64, BigInt(value))
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
  return Uint8Array.from([...bytes, Number(rest)])
}

/** A number of 1, 2, 4 or 8 bytes. */
export function fixed(value, width, bigEndian = false) {
  const bytes = new Uint8Array(width)
  for (let i = 0; i < width; i++)
    bytes[bigEndian ? width - 1 - i : i] = Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(8 * i)) & 255n)
  return bytes
}

/** A number near the edges of types, or of the file. */
export const edgeNumber = (random, size) =>
  random.once(3) ? BigInt(Math.max(0, Number(size) + random.between(-2, 2))) : random.pick(numbers)

const overwrite = (bytes, at, piece) => {
  const result = bytes.slice()
  result.set(piece.subarray(0, Math.max(0, result.length - at)), at)
  return result
}

const steps = [
  (bytes, random) => {
    const result = bytes.slice()
    for (let i = random.below(4); i >= 0; i--) result[placeIn(bytes.length, random)] ^= 1 << random.below(8)
    return result
  },
  (bytes, random) => overwrite(bytes, placeIn(bytes.length, random), Uint8Array.of(random.below(256))),
  (bytes, random) => bytes.slice(0, random.below(bytes.length + 1)),
  (bytes, random) => bytes.slice(0, placeIn(bytes.length, random)),
  (bytes, random) => {
    const width = random.pick([1, 2, 4, 8])
    return overwrite(
      bytes,
      placeIn(bytes.length, random),
      fixed(edgeNumber(random, bytes.length), width, random.once(8)),
    )
  },
  (bytes, random) => {
    const at = placeIn(bytes.length, random)
    return join(
      bytes.subarray(0, at),
      varint(edgeNumber(random, bytes.length)),
      bytes.subarray(at + random.below(3)),
    )
  },
  (bytes, random) => {
    const at = placeIn(bytes.length, random)
    return overwrite(
      bytes,
      at,
      new Uint8Array(random.between(1, 16)).fill(random.pick([0, 0xff, 0x7f, 0x80, 0x30])),
    )
  },
  (bytes, random) => {
    const [from, to] = [placeIn(bytes.length, random), placeIn(bytes.length, random)]
    return overwrite(bytes, to, bytes.subarray(from, from + random.between(1, 64)))
  },
  // A piece once more, taken out, or many times.
  (bytes, random) => {
    const at = placeIn(bytes.length, random)
    const piece = bytes.subarray(at, at + random.between(1, 200))
    return join(bytes.subarray(0, at), piece, bytes.subarray(at))
  },
  (bytes, random) => {
    const at = placeIn(bytes.length, random)
    return join(bytes.subarray(0, at), bytes.subarray(at + random.between(1, 100)))
  },
  (bytes, random) => {
    const at = placeIn(bytes.length, random)
    const piece = bytes.subarray(at, at + random.between(1, 12))
    return join(bytes.subarray(0, at), ...Array(random.pick([8, 64, 512])).fill(piece), bytes.subarray(at))
  },
  (bytes, random) => join(bytes, new Uint8Array(random.between(1, 100)).fill(random.pick([0, 0x20, 0xff]))),
  // Two numbers change places.
  (bytes, random) => {
    const width = random.pick([4, 8])
    const [a, b] = [placeIn(bytes.length, random), placeIn(bytes.length, random)]
    return overwrite(overwrite(bytes, a, bytes.slice(b, b + width)), b, bytes.slice(a, a + width))
  },
  (bytes, random) =>
    overwrite(bytes, placeIn(bytes.length, random), Buffer.from(random.pick([...'0123456789-{}[],":.eE']))),
]

/** One to four steps of damage; the bytes given stay as they are. */
export function damageBytes(bytes, random) {
  // A Buffer's own slice shares its memory.
  let result = new Uint8Array(bytes)
  for (let i = random.pick([0, 0, 0, 1, 1, 3]); i >= 0; i--) result = random.pick(steps)(result, random)
  return result
}
