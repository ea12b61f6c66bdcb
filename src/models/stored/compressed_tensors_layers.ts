/** Layers of a compressed-tensors checkpoint: packed codes, integers or floats of 8 bits, and what of them is sparse. */
import type { TensorArchive } from '../../formats/archive.ts'
import {
  packedLength,
  storedCodes,
  unpackCodes,
  type WordPacking,
} from '../../formats/compressed_tensors_packing.ts'
import { decodeIntegers } from '../../formats/safetensors/decode.ts'
import { neighbourGroups } from '../../nn/grid.ts'
import type { StoredValues } from '../../nn/values/values.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import {
  type CompressedTensorsConfig,
  decidedPacking,
  schemesOf,
  type WeightScheme,
} from './compressed_tensors_config.ts'
import { sparseLayer } from './sparse_bitmask_layers.ts'
import {
  bytesOfParts,
  inPart,
  modulesWith,
  type PartNeed,
  partsOf,
  readNumbers,
  readPart,
  type StoredLayer,
  scaleTypeNames,
  scaleTypeOf,
  signedWords,
} from './stored_layer.ts'

const code = 'PARE_E_COMPRESSED_TENSORS_TENSOR'
type Rows = readonly [start: number, end: number]

/** Beside the weight; those of activations and of the cache belong to the layer, and are not read. */
const suffixes = [
  'weight_packed',
  'weight',
  'weight_scale',
  'weight_zero_point',
  'weight_g_idx',
  'weight_shape',
  ...['input', 'output'].flatMap((side) => [`${side}_scale`, `${side}_zero_point`, `${side}_global_scale`]),
]

/** The layers that have codes. What the configuration ignores has a plain tensor, and is none. */
export function compressedTensorsLayers(
  archive: TensorArchive,
  config: CompressedTensorsConfig,
): StoredLayer[] {
  const packed = modulesWith(archive, 'weight_packed')
  const scaled = modulesWith(archive, 'weight_scale').filter((stem) => archive.tensors.has(`${stem}.weight`))
  const sparse = modulesWith(archive, 'compressed')
  const isScaled = (stem: string) => archive.tensors.has(`${stem}.weight_scale`)
  const schemeOf = schemesOf(config, [...packed, ...scaled, ...sparse])
  return [
    ...packed.map((stem) => packedLayer(archive, stem, schemeOf(stem), config.version)),
    ...scaled.map((stem) => plainLayer(archive, stem, schemeOf(stem))),
    ...sparse.map((stem) => {
      const scale = isScaled(stem)
        ? (rows: number) => rowScales(archive, stem, schemeOf(stem), rows)
        : undefined
      return sparseLayer(archive, stem, config.sparsity, scale)
    }),
  ]
}

/** Integers of 1 to 8 bits in words: `pack-quantized`. */
function packedLayer(
  archive: TensorArchive,
  stem: string,
  scheme: WeightScheme,
  version: string | undefined,
): StoredLayer {
  const { bits } = scheme
  const parts = partsOf(archive, stem, suffixes)
  const name = `${stem}.weight_packed`
  const [out = 0, width = 0] = archive.tensors.get(name)!.shape
  const shapeBytes = readPart(archive, `${stem}.weight_shape`, need(['I64'], 2))
  const [rows = 0, inputs = 0] = decodeIntegers('I64', shapeBytes, 2)
  if (rows !== out || inputs < 0 || scheme.type !== 'int')
    throw new FormatError(
      `${printable(stem)}.weight_shape: packed integers of ${out} rows are needed, found ${scheme.type} [${rows}, ${inputs}]; the file is damaged or its configuration does not fit`,
      { code, facts: { tensor: `${stem}.weight_shape`, rows, inputs } },
    )
  const packing = inPart(name, () => {
    const zeros = archive.tensors.get(`${stem}.weight_zero_point`)
    const runs = [{ length: inputs, words: width }]
    if (zeros?.type === 'I32') runs.push({ length: out, words: zeros.shape[0] ?? 0 })
    return decidedPacking(runs, bits, version)
  })
  return {
    info: {
      name: `${stem}.weight`,
      shape: [out, inputs],
      type: `compressed-tensors-${bits}bit`,
      bytes: bytesOfParts(archive, parts),
    },
    parts,
    values(start, end) {
      const words = readPart(archive, name, need(['I32'], out, width), [start, end])
      const matrix = { rows: end - start, columns: inputs, bits, packing, axis: 1 } as const
      const codes = inPart(name, () => unpackCodes(signedWords(words), matrix))
      return gridOf(archive, stem, scheme, [out, inputs], [start, end], codes, packing)
    },
  }
}

/** Numbers of 8 bits or less in a byte each: `int-quantized`, `float-quantized` and `naive-quantized`. */
function plainLayer(archive: TensorArchive, stem: string, scheme: WeightScheme): StoredLayer {
  const parts = partsOf(archive, stem, suffixes)
  const name = `${stem}.weight`
  const { shape, type } = archive.tensors.get(name)!
  const [out = 0, inputs = 0] = shape
  const isInt = scheme.type === 'int'
  return {
    info: {
      name,
      shape: [out, inputs],
      type: `compressed-tensors-${isInt ? `${scheme.bits}bit` : type}`,
      bytes: bytesOfParts(archive, parts),
    },
    parts,
    values(start, end) {
      const rows = [start, end] as const
      if (!isInt) {
        const floats = readNumbers(archive, name, need(['F8_E4M3', 'F8_E5M2'], out, inputs), rows)
        return scaledFloats(archive, stem, scheme, [out, inputs], rows, floats)
      }
      const bytes = readPart(archive, name, need(['I8'], out, inputs), rows)
      const codes = inPart(name, () => storedCodes(signedBytes(bytes), scheme.bits))
      return gridOf(archive, stem, scheme, [out, inputs], rows, codes, 'stream')
    },
  }
}

const signedBytes = (bytes: Uint8Array) => new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length)
const need = (types: readonly string[], ...shape: number[]): PartNeed => ({ types, shape, code })

/** Groups down and across, and how many columns one is wide. */
function groupsOf({ rows, columns }: WeightScheme, [out, inputs]: readonly [number, number]) {
  const [high, width] = [rows === 'all' ? out : rows, columns === 'row' ? inputs : columns]
  return { high, width: Math.max(1, width), down: Math.ceil(out / high), across: Math.ceil(inputs / width) }
}

/** One value a group, for each of the rows. A scheme of whole tensors has a single one, [1] or []. */
function byRow(
  archive: TensorArchive,
  name: string,
  types: readonly string[],
  scheme: WeightScheme,
  shape: readonly [number, number],
  [start, end]: Rows,
): Float32Array {
  const { high, down, across } = groupsOf(scheme, shape)
  const isWhole = scheme.rows === 'all'
  const isScalar = archive.tensors.get(name)?.shape.length === 0
  const stored = readNumbers(
    archive,
    name,
    need(types, ...(isWhole ? (isScalar ? [] : [1]) : [down, across])),
  )
  if (isWhole) return new Float32Array(end - start).fill(stored[0]!)
  const values = new Float32Array((end - start) * across)
  for (let row = start; row < end; row++) {
    const from = Math.floor(row / high) * across
    values.set(stored.subarray(from, from + across), (row - start) * across)
  }
  return values
}

/** A factor for each row of a module whose scheme has no groups of columns. @throws FormatError where it has */
function rowScales(archive: TensorArchive, stem: string, scheme: WeightScheme, rows: number): Float32Array {
  if (scheme.columns !== 'row' || scheme.type !== 'float')
    throw new FormatError(
      `${printable(stem)}: sparse weights are read as floats with a scale for each output or one for all, found another scheme; Pare reads no other`,
      { code, facts: { module: stem } },
    )
  return byRow(archive, `${stem}.weight_scale`, scaleTypeNames, scheme, [rows, 1], [0, rows])
}

function gridOf(
  archive: TensorArchive,
  stem: string,
  scheme: WeightScheme,
  shape: readonly [number, number],
  rows: Rows,
  codes: Uint8Array,
  packing: WordPacking,
): StoredValues {
  const [, inputs] = shape
  const count = rows[1] - rows[0]
  const { width, across } = groupsOf(scheme, shape)
  const scaleName = `${stem}.weight_scale`
  const scales = byRow(archive, scaleName, scaleTypeNames, scheme, shape, rows)
  const zeros = zerosOf(archive, stem, scheme, shape, rows, packing)
  const groupOf = orderOf(archive, stem, inputs, width, across)
  return scope(() => ({
    kind: 'grid',
    grid: {
      bits: scheme.bits,
      groupSize: scheme.columns,
      symmetric: zeros === undefined,
      scaleType: scaleTypeOf(archive, scaleName),
    },
    codes: tensor(codes, [count, inputs], 'u8'),
    scales: tensor(scales, [count, across]),
    zeros: tensor(
      zeros ?? new Uint8Array(count * across).fill(2 ** (scheme.bits - 1)),
      [count, across],
      'u8',
    ),
    groupOf,
  }))
}

/** Zeros as they are stored, plus half the levels; undefined where the file has none. */
function zerosOf(
  archive: TensorArchive,
  stem: string,
  scheme: WeightScheme,
  shape: readonly [number, number],
  rows: Rows,
  packing: WordPacking,
): Uint8Array | undefined {
  const name = `${stem}.weight_zero_point`
  const { bits } = scheme
  const entry = archive.tensors.get(name)
  if (!entry && scheme.symmetric) return undefined
  const { down, across } = groupsOf(scheme, shape)
  // Packed zeros lie along the outputs, so that some rows cost what all do.
  if (entry?.type === 'I32' && scheme.rows === 1 && archive.tensors.has(`${stem}.weight_packed`)) {
    const bytes = readPart(archive, name, need(['I32'], packedLength(down, bits, packing), across))
    const matrix = { rows: down, columns: across, bits, packing, axis: 0 } as const
    const all = inPart(name, () => unpackCodes(signedWords(bytes), matrix))
    return all.slice(rows[0] * across, rows[1] * across)
  }
  const signed = byRow(archive, name, ['I8'], scheme, shape, rows)
  return inPart(name, () => storedCodes(Int8Array.from(signed), bits))
}

/** The group of each column. An order of -1 was never set: groups are neighbours. */
function orderOf(
  archive: TensorArchive,
  stem: string,
  inputs: number,
  width: number,
  across: number,
): Uint32Array {
  const name = `${stem}.weight_g_idx`
  if (!archive.tensors.has(name)) return neighbourGroups(inputs, width)
  const order = signedWords(readPart(archive, name, need(['I32'], inputs)))
  if (order.includes(-1)) return neighbourGroups(inputs, width)
  if (order.some((group) => group < 0 || group >= across))
    throw new FormatError(
      `${printable(name)}: names a group past the last of ${across}; the file is damaged`,
      {
        code,
        facts: { tensor: name, groups: across },
      },
    )
  return Uint32Array.from(order)
}

/** Floats of 8 bits, each exact in f16, times their scales. */
function scaledFloats(
  archive: TensorArchive,
  stem: string,
  scheme: WeightScheme,
  shape: readonly [number, number],
  rows: Rows,
  floats: Float32Array,
): StoredValues {
  const [count, inputs] = [rows[1] - rows[0], shape[1]]
  const { width, across } = groupsOf(scheme, shape)
  if (archive.tensors.has(`${stem}.weight_zero_point`))
    throw new FormatError(
      `${printable(stem)}.weight_zero_point: floats have no zero points; the file is damaged or its configuration does not fit`,
      { code, facts: { tensor: `${stem}.weight_zero_point` } },
    )
  const scales = byRow(archive, `${stem}.weight_scale`, scaleTypeNames, scheme, shape, rows)
  if (scheme.columns === 'row')
    return scope(() => ({
      kind: 'scaled',
      values: { kind: 'dense', numbers: tensor(floats, [count, inputs]).cast('f16') },
      rows: tensor(scales, [count]),
    }))
  const groupOf = orderOf(archive, stem, inputs, width, across)
  for (let i = 0; i < floats.length; i++)
    floats[i]! *= scales[Math.floor(i / inputs) * across + groupOf[i % inputs]!]!
  return { kind: 'dense', numbers: tensor(floats, [count, inputs]) }
}
