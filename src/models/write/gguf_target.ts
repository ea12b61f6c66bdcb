/** Writes llama.cpp's GGUF: block types with llama.cpp's fall-backs, metadata and tokenizer kept. */
import { join } from 'node:path'
import type { TensorInfo } from '../../formats/archive.ts'
import { type GgufMetadata, type GgufValue, gguf } from '../../formats/gguf/metadata.ts'
import { createGguf, layOutGguf } from '../../formats/gguf/writer.ts'
import { fitBlocks } from '../../nn/block_fit.ts'
import {
  type BlockTypeName,
  fileTypes,
  isBlockType,
  isCodedType,
  rowBytes,
  typeForRow,
} from '../../nn/block_types.ts'
import { columnSweep } from '../../nn/column_sweep.ts'
import type { GridSource } from '../../nn/grid.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { indexSelect, scope, type Tensor, tensor } from '../../tensor/index.ts'
import type { LlamaConfig } from '../llama/config.ts'
import { ggufName, ggufRowOrder, headName, rotaryHeads } from '../llama/names.ts'
import type { WeightInfo } from '../model_weights.ts'
import { type GgufScheme, isMixScheme, type MixFacts, mainTypeOf, mixedType } from './gguf_mix.ts'
import type { EncodedTensor, TargetPlan } from './model_writer.ts'
import { keptNumbers, type TensorChoices } from './tensor_choice.ts'
import { roleOf, type TensorPlan } from './tensor_plan.ts'

export interface GgufTargetOptions {
  /** Block type of the matrices, or a mix, which has a type for each tensor. @default 'Q4_K' */
  scheme?: GgufScheme
  /**
   * Type of the embedding and the head; `keep` copies what a GGUF source has.
   * @default what the mix says; without one 'keep', else Q6_K
   */
  embedding?: BlockTypeName | 'keep' | undefined
  /** Another type may stand in where 256 does not divide the rows. @default true */
  fallback?: boolean
  /** What is asked for single tensors. */
  choices?: TensorChoices
  /**
   * The mean square of each input, by weight: mixes take it into account, and the fit of embedding and head.
   * @default not known
   */
  importance?: ReadonlyMap<string, Float32Array> | undefined
  /** File name without its ending. */
  fileName: string
}

/** What the target needs to know of the source. */
export interface GgufSource {
  config: LlamaConfig
  infos: ReadonlyMap<string, WeightInfo>
  matrices: ReadonlySet<string>
  /** Metadata with architecture, shapes and tokenizer. */
  metadata: GgufMetadata
  /** Tensors that go along unchanged: rotary divisors. */
  side: readonly { info: TensorInfo; bytes: Uint8Array }[]
  /** The source is a GGUF file, so that bytes can be kept. */
  isGguf: boolean
  /** Tensors that are no longer what the source has. @default none */
  edited?: ReadonlySet<string>
}

export function planGguf(source: GgufSource, options: GgufTargetOptions): TargetPlan {
  const { scheme = 'Q4_K', fallback = true, fileName } = options
  const facts = mixFacts(source, options.importance !== undefined)
  const tensors = [...source.infos.values()].map((info): TensorPlan => {
    const { name, shape } = info
    const role = roleOf(info, source.matrices)
    const base = { name, shape, role, sourceType: info.type, kept: false }
    if (role === 'vector') return { ...base, type: 'F32', bytes: 4 * shape.reduce((a, b) => a * b, 1) }
    const [rows, columns] = shape as [number, number]
    const choice = options.choices?.get(name)
    const canKeep = source.isGguf && !source.edited?.has(name)
    if (choice?.keep && !canKeep) return { ...base, ...keptNumbers(info, choice.by, 'a GGUF file') }
    if (choice?.keep) return { ...base, type: info.type, kept: true, bytes: info.bytes }
    const mix = choice
      ? choice.mix
      : (role === 'matrix' || options.embedding === undefined) && isMixScheme(scheme)
        ? scheme
        : undefined
    const mixed = mix && mixedType(mix, ggufName(name)!, shape, facts)
    const asked =
      mixed?.asked ??
      choice?.scheme ??
      (role === 'matrix' ? mainTypeOf(scheme) : (options.embedding ?? (canKeep ? 'keep' : 'Q6_K')))
    if (asked === 'keep') {
      if (!canKeep || !isBlockType(info.type)) {
        throw new OptionError(
          `--embedding keep: ${printable(name)} is ${source.edited?.has(name) ? 'rewritten by a transform' : `${printable(info.type)} in the source`}; name a block type`,
        )
      }
      return { ...base, type: info.type, kept: true, bytes: info.bytes }
    }
    const type = mixed?.type ?? typeForRow(asked, columns)
    // The default type of an embedding is a choice of Pare's, not the user's.
    const isWanted = role === 'matrix' || choice || mixed || options.embedding !== undefined
    if (type !== asked && !fallback && isWanted) {
      throw new OptionError(
        `${name}: ${asked} needs rows that 256 divides, got ${columns}; leave --no-fallback out or choose a type with blocks of 32 such as IQ4_NL`,
        { code: 'PARE_E_FALLBACK', facts: { tensor: name, columns, type: asked } },
      )
    }
    const note = type === asked ? {} : { note: `${asked} does not divide rows of ${columns}` }
    const bytes = rows * rowBytes(type, columns)
    return isCodedType(type)
      ? { ...base, type, grid: { kind: 'blocks', type }, bytes, ...note }
      : { ...base, type, bytes, ...note }
  })
  const metadata = targetMetadata(source.metadata, scheme)
  const infos = (): TensorInfo[] => [
    ...source.side.map(({ info }) => info),
    ...tensors.map(({ name, shape, type }) => ({ name: ggufName(name)!, shape, type })),
  ]
  const layout = layOutGguf(metadata, infos())
  const file = (folder: string) => join(folder, `${fileName}.gguf`)
  return {
    target: 'gguf',
    tensors,
    fileBytes: layout.size,
    alignment: layout.alignment,
    notes: [],
    stored: ({ name, bytes }) => [{ name: ggufName(name)!, bytes }],
    ...encoders(source.config, options.importance),
    check() {},
    create(folder) {
      const writer = createGguf(file(folder), metadata, infos())
      for (const { info, bytes } of source.side) writer.append(info.name, bytes)
      return writer
    },
  }
}

function mixFacts({ config, infos }: GgufSource, imatrix: boolean): MixFacts {
  const { architecture, layers } = config
  const [{ heads, kvHeads }] = layers as [(typeof layers)[number]]
  return {
    architecture,
    layers: layers.length,
    heads,
    keyHeads: kvHeads,
    tied: !infos.has(headName),
    imatrix,
  }
}

/** The source's metadata with the type of the new file. */
function targetMetadata(metadata: GgufMetadata, scheme: GgufScheme): GgufMetadata {
  const fileType = fileTypes[scheme] ?? fileTypes[`${scheme}_S`] ?? fileTypes.F16!
  const changed: [string, GgufValue][] = [
    ['general.file_type', gguf.u32(fileType)],
    ['general.quantization_version', gguf.u32(2)],
  ]
  return new Map([...metadata, ...changed])
}

type Encoders = Pick<TargetPlan, 'byRows' | 'encodeSource' | 'encodeNumbers' | 'encodeKept'>

function encoders(
  { architecture, headSize }: LlamaConfig,
  importance: GgufTargetOptions['importance'],
): Encoders {
  /** Rows in the order of the file; each row is whole bytes, so packed rows move as they are. */
  const inFileOrder = (name: string, rows: Tensor): Tensor => {
    if (architecture !== 'llama' || !rotaryHeads(name)) return rows
    const order = ggufRowOrder(rows.extent(0), headSize)
    return indexSelect(rows, 0, tensor(order, [order.length], 'u32'))
  }
  const encoded = (name: string, rows: Tensor): EncodedTensor[] => [
    { name: ggufName(name)!, bytes: inFileOrder(name, rows).bytes() },
  ]
  return {
    // Rows of heads change their places.
    byRows: ({ name }) => architecture !== 'llama' || !rotaryHeads(name),
    encodeSource({ name, grid }, compressed) {
      const { values } = compressed as GridSource
      if (values?.kind !== 'blocks' || grid?.kind !== 'blocks' || values.type !== grid.type) {
        throw new OptionError(`${name}: a GGUF file stores block types, the method made something else`)
      }
      return scope(() => encoded(name, values.bytes))
    },
    encodeNumbers: ({ name, type, grid }, values) =>
      scope(() => {
        if (!grid) return encoded(name, values.cast(type === 'F32' ? 'f32' : type === 'F16' ? 'f16' : 'bf16'))
        const own = importance?.get(name)
        const blocks =
          own && grid.kind === 'blocks'
            ? fitBlocks(values, grid.type, own)
            : columnSweep(values, { grid }).values
        return blocks.kind === 'blocks' ? encoded(name, blocks.bytes) : []
      }),
    encodeKept: ({ name }, bytes) => [{ name: ggufName(name)!, bytes }],
  }
}
