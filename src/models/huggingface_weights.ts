/** Weights of a Hugging Face folder: plain tensors in any float type, and GPTQ layers, both as f32. */
import type { TensorArchive, TensorEntry } from '../formats/archive.ts'
import { type GptqBits, loadedZeros, unpackAcross, unpackDown, zeroFormat } from '../formats/gptq_packing.ts'
import { affineGrid, decodeValues } from '../nn/grid.ts'
import { FormatError, printable } from '../tensor/errors.ts'
import { fromBytes, scope, type Tensor, tensor } from '../tensor/index.ts'
import { loadFloatRows, loadFloatSlice, loadFloats } from './decode_rows.ts'
import { find } from './gguf_weights.ts'
import type { ModelWeights, WeightInfo } from './model_weights.ts'

/** `quantization_config` of a GPTQ checkpoint. */
export interface GptqConfig {
  bits: GptqBits
  groupSize: number | 'row'
  symmetric: boolean
  /** `gptq` stores zeros less 1, `gptq_v2` as they are. */
  format: 'gptq' | 'gptq_v2'
}

/** @throws FormatError for another method or option than Pare reads. */
export function readGptqConfig(config: Record<string, unknown>): GptqConfig {
  const method = config.quant_method
  if (method !== 'gptq') {
    throw new FormatError(
      `quantization_config: quant_method ${printable(String(method))} is not supported; Pare reads gptq`,
      { code: 'PARE_E_QUANT_METHOD', facts: { method: String(method) } },
    )
  }
  const bits = config.bits as GptqBits
  if (![2, 3, 4, 8].includes(bits))
    throw new FormatError(`quantization_config: bits must be 2, 3, 4 or 8, got ${printable(String(bits))}`)
  const size = config.group_size ?? 128
  if (!(size === -1 || (Number.isInteger(size) && (size as number) > 0))) {
    throw new FormatError(
      `quantization_config: group_size must be -1 or above 0, got ${printable(String(size))}`,
    )
  }
  // What is left out is found by its plain tensor, whatever the pattern says.
  if (config.dynamic && Object.keys(config.dynamic).some((pattern) => !pattern.startsWith('-:'))) {
    throw new FormatError(
      'quantization_config: dynamic overrides are not supported; the layers would be read wrongly',
    )
  }
  const format = config.checkpoint_format ?? config.format ?? 'gptq'
  if (format !== 'gptq' && format !== 'gptq_v2') {
    throw new FormatError(
      `quantization_config: checkpoint_format ${printable(String(format))} is not supported; Pare reads gptq and gptq_v2`,
    )
  }
  return { bits, groupSize: size === -1 ? 'row' : (size as number), symmetric: config.sym !== false, format }
}

const parts = ['qweight', 'qzeros', 'scales', 'g_idx'] as const

export function huggingFaceWeights(
  archive: TensorArchive,
  gptq: GptqConfig | undefined,
  fileBytes: number,
): ModelWeights {
  const infos = new Map<string, WeightInfo>()
  for (const entry of archive.tensors.values()) {
    const part = /\.([a-z_]+)$/.exec(entry.name)?.[1]
    if (part === 'qweight') addGptqLayer(infos, archive, entry, gptq)
    else if (
      !(parts as readonly (string | undefined)[]).includes(part) &&
      !entry.name.endsWith('.rotary_emb.inv_freq')
    ) {
      infos.set(entry.name, { name: entry.name, shape: entry.shape, type: entry.type, bytes: entry.bytes })
    }
  }
  const layer = (info: WeightInfo) =>
    scope(() => loadGptqLayer(archive, info.name.replace(/\.weight$/, ''), info, gptq!))
  return {
    infos,
    fileBytes,
    load(name) {
      const info = find(infos, name)
      return archive.tensors.has(name) ? loadFloats(archive, info) : layer(info)
    },
    rows: (name, ids) => loadFloatRows(archive, find(infos, name), ids),
    slice(name, start, end) {
      const info = find(infos, name)
      return archive.tensors.has(name)
        ? loadFloatSlice(archive, info, start, end)
        : scope(() => layer(info).slice(0, start, end).contiguous())
    },
    close: () => archive.close(),
  }
}

function addGptqLayer(
  infos: Map<string, WeightInfo>,
  archive: TensorArchive,
  entry: TensorEntry,
  gptq: GptqConfig | undefined,
): void {
  const stem = entry.name.replace(/\.qweight$/, '')
  if (!gptq) {
    throw new FormatError(
      `${printable(entry.name)}: config.json has no quantization_config that says how to read it`,
    )
  }
  const bytes = parts.reduce((sum, part) => sum + (archive.tensors.get(`${stem}.${part}`)?.bytes ?? 0), 0)
  const [words, out] = entry.shape as [number, number]
  const name = `${stem}.weight`
  infos.set(name, { name, shape: [out, (words * 32) / gptq.bits], type: `gptq-${gptq.bits}bit`, bytes })
}

/** A layer's tensor as numbers, with its type and shape checked. */
function part(
  archive: TensorArchive,
  name: string,
  types: readonly string[],
  shape: readonly number[],
): Uint8Array {
  const entry = archive.tensors.get(name)
  const fits =
    entry &&
    types.includes(entry.type) &&
    entry.shape.length === shape.length &&
    shape.every((n, i) => n === entry.shape[i])
  if (fits) return archive.read(name)
  const found = entry ? `${entry.type} [${entry.shape.join(', ')}]` : 'nothing'
  throw new FormatError(
    `${printable(name)}: needs ${types.join(' or ')} [${shape.join(', ')}], the file has ${found}`,
    {
      code: 'PARE_E_GPTQ_TENSOR',
      facts: { tensor: name, found },
    },
  )
}

const words = (bytes: Uint8Array) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

function loadGptqLayer(
  archive: TensorArchive,
  stem: string,
  { shape }: WeightInfo,
  gptq: GptqConfig,
): Tensor {
  const [out, inputs] = shape as [number, number]
  const { bits, symmetric } = gptq
  const groupSize = gptq.groupSize === 'row' ? inputs : gptq.groupSize
  const groups = Math.ceil(inputs / groupSize)
  const packed = words(part(archive, `${stem}.qweight`, ['I32'], [(inputs * bits) / 32, out]))
  const codes = unpackDown(packed, inputs, out, bits) // [in, out]
  const packedZeros = words(part(archive, `${stem}.qzeros`, ['I32'], [groups, (out * bits) / 32]))
  const stored = unpackAcross(packedZeros, groups, out, bits) // [groups, out]
  const zeros = loadedZeros(stored, bits, zeroFormat(stored, bits, symmetric, gptq.format))
  const scaleType = archive.tensors.get(`${stem}.scales`)?.type === 'BF16' ? 'bf16' : 'f16'
  const scaleBytes = part(archive, `${stem}.scales`, ['F16', 'BF16'], [groups, out])
  const groupOf = archive.tensors.has(`${stem}.g_idx`)
    ? Uint32Array.from(words(part(archive, `${stem}.g_idx`, ['I32'], [inputs])))
    : Uint32Array.from({ length: inputs }, (_, i) => Math.floor(i / groupSize))
  if (groupOf.some((group) => group >= groups)) {
    throw new FormatError(
      `${printable(stem)}.g_idx: names a group past the last of ${groups}; the file is damaged`,
    )
  }
  return decodeValues({
    kind: 'grid',
    grid: affineGrid({ bits, groupSize, symmetric }),
    codes: tensor(codes, [inputs, out], 'u8').transpose().contiguous(),
    scales: fromBytes(scaleBytes, [groups, out], scaleType).cast('f32').transpose().contiguous(),
    zeros: tensor(zeros, [groups, out], 'u8').transpose().contiguous(),
    groupOf,
  })
}
