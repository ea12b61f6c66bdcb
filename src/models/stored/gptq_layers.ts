/** Layers of a GPTQ checkpoint: codes packed along the inputs, zeros along the outputs. */
import type { TensorArchive } from '../../formats/archive.ts'
import {
  type GptqBits,
  loadedZeros,
  unpackAcross,
  unpackDown,
  zeroFormat,
} from '../../formats/gptq_packing.ts'
import type { AffineValues } from '../../nn/grid.ts'
import { patternMatches, patternTime } from '../../nn/name_pattern.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { fromBytes, scope, tensor } from '../../tensor/index.ts'
import {
  bytesOfParts,
  gridRows,
  type PartNeed,
  readPart,
  type StoredLayer,
  signedWords,
} from './stored_layer.ts'

/** `quantization_config` of a GPTQ checkpoint. */
export interface GptqConfig {
  bits: GptqBits
  groupSize: number | 'row'
  symmetric: boolean
  /** `gptq` stores zeros less 1, `gptq_v2` as they are. */
  format: 'gptq' | 'gptq_v2'
  /** Fields of single modules, by a pattern over their names; the first that takes a name decides. */
  dynamic: ReadonlyMap<string, Record<string, unknown>>
}

type LayerConfig = Omit<GptqConfig, 'dynamic'>

/** @throws FormatError for an option that Pare does not read. */
export function readGptqConfig(config: Record<string, unknown>): GptqConfig {
  const { dynamic } = config
  const isMap = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (dynamic !== undefined && dynamic !== null && !(isMap(dynamic) && Object.values(dynamic).every(isMap)))
    throw wrong('dynamic', 'a map from patterns to fields', dynamic)
  return {
    ...layerConfig(config),
    dynamic: new Map(Object.entries((dynamic ?? {}) as Record<string, Record<string, unknown>>)),
  }
}

function layerConfig(config: Record<string, unknown>): LayerConfig {
  const bits = config.bits as GptqBits
  if (![2, 3, 4, 8].includes(bits)) throw wrong('bits', '2, 3, 4 or 8', config.bits)
  const size = config.group_size ?? 128
  if (!(size === -1 || (Number.isInteger(size) && (size as number) > 0)))
    throw wrong('group_size', '-1 or a whole number above 0', size)
  const format = config.checkpoint_format ?? config.format ?? 'gptq'
  if (format !== 'gptq' && format !== 'gptq_v2') throw wrong('checkpoint_format', 'gptq or gptq_v2', format)
  return { bits, groupSize: size === -1 ? 'row' : (size as number), symmetric: config.sym !== false, format }
}

const wrong = (field: string, need: string, found: unknown) =>
  new FormatError(
    `quantization_config: ${field} must be ${need}, got ${printable(String(found))}; Pare reads no other GPTQ checkpoint`,
    { code: 'PARE_E_GPTQ_CONFIG', facts: { field } },
  )

const suffixes = ['qweight', 'qzeros', 'scales', 'g_idx'] as const

/** The layers that have codes, by their names. What a pattern leaves out has a plain tensor, and is none. */
export function gptqLayers(archive: TensorArchive, config: GptqConfig): StoredLayer[] {
  const stems = [...archive.tensors.keys()].flatMap((name) =>
    name.endsWith('.qweight') ? [name.slice(0, -'.qweight'.length)] : [],
  )
  const configOf = overridden(stems, config)
  return stems.map((stem) => gptqLayer(archive, stem, configOf.get(stem)!))
}

/** The fields of each module. GPTQModel searches from the beginning of a name; `+:` before a pattern says nothing more. */
function overridden(stems: readonly string[], config: GptqConfig): Map<string, LayerConfig> {
  const { dynamic, ...base } = config
  const found = new Map<string, LayerConfig>(stems.map((stem) => [stem, base]))
  const decided = new Set<string>()
  const time = patternTime()
  for (const [pattern, fields] of dynamic) {
    const expression = pattern.replace(/^[+-]:/, '')
    const matches = patternMatches('quantization_config.dynamic', `re:^(?:${expression})`, stems, time)
    for (const [i, stem] of stems.entries()) {
      if (!matches[i] || decided.has(stem)) continue
      decided.add(stem)
      const { bits, groupSize, symmetric, format } = base
      const own = {
        bits,
        group_size: groupSize === 'row' ? -1 : groupSize,
        sym: symmetric,
        checkpoint_format: format,
        ...fields,
      }
      found.set(stem, layerConfig(own))
    }
  }
  return found
}

function gptqLayer(archive: TensorArchive, stem: string, config: LayerConfig): StoredLayer {
  const { bits } = config
  const parts = suffixes.map((suffix) => `${stem}.${suffix}`).filter((name) => archive.tensors.has(name))
  const { shape } = archive.tensors.get(`${stem}.qweight`)!
  const [words = 0, out = 0] = shape
  const info = {
    name: `${stem}.weight`,
    shape: [out, Math.floor((words * 32) / bits)],
    type: `gptq-${bits}bit`,
    bytes: bytesOfParts(archive, parts),
  }
  return {
    info,
    parts,
    values(start, end) {
      return gridRows(readGptq(archive, stem, info.shape as [number, number], config), start, end)
    },
  }
}

function readGptq(
  archive: TensorArchive,
  stem: string,
  [out, inputs]: readonly [number, number],
  { bits, symmetric, groupSize, format }: LayerConfig,
): AffineValues {
  const width = groupSize === 'row' ? inputs : groupSize
  const groups = Math.ceil(inputs / width)
  const need = (types: readonly string[], ...shape: number[]): PartNeed => ({
    types,
    shape,
    code: 'PARE_E_GPTQ_TENSOR',
  })
  const packed = readPart(archive, `${stem}.qweight`, need(['I32'], (inputs * bits) / 32, out))
  const codes = unpackDown(signedWords(packed), inputs, out, bits) // [in, out]
  const packedZeros = readPart(archive, `${stem}.qzeros`, need(['I32'], groups, (out * bits) / 32))
  const stored = unpackAcross(signedWords(packedZeros), groups, out, bits) // [groups, out]
  const zeros = loadedZeros(stored, bits, zeroFormat(stored, bits, symmetric, format))
  const scaleType = archive.tensors.get(`${stem}.scales`)?.type === 'BF16' ? 'bf16' : 'f16'
  const scaleBytes = readPart(archive, `${stem}.scales`, need(['F16', 'BF16'], groups, out))
  const groupOf = archive.tensors.has(`${stem}.g_idx`)
    ? Uint32Array.from(signedWords(readPart(archive, `${stem}.g_idx`, need(['I32'], inputs))))
    : Uint32Array.from({ length: inputs }, (_, i) => Math.floor(i / width))
  if (groupOf.some((group) => group >= groups)) {
    throw new FormatError(
      `${printable(stem)}.g_idx: names a group past the last of ${groups}; the file is damaged`,
      { code: 'PARE_E_GPTQ_TENSOR', facts: { tensor: `${stem}.g_idx`, groups } },
    )
  }
  return scope(() => ({
    kind: 'grid',
    grid: { bits, groupSize, symmetric, scaleType },
    codes: tensor(codes, [inputs, out], 'u8').transpose().contiguous(),
    scales: fromBytes(scaleBytes, [groups, out], scaleType).cast('f32').transpose().contiguous(),
    zeros: tensor(zeros, [groups, out], 'u8').transpose().contiguous(),
    groupOf,
  }))
}
