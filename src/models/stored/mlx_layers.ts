/** Layers of an MLX checkpoint, mode "affine": codes of a row as one stream of words, with scales and offsets. */
import type { TensorArchive } from '../../formats/archive.ts'
import {
  type MlxBits,
  type MlxGroupSize,
  mlxBits,
  mlxGroupSizes,
  unpackMlx,
} from '../../formats/mlx_packing.ts'
import { neighbourGroups } from '../../nn/grid.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { scope, tensor } from '../../tensor/index.ts'
import {
  bytesOfParts,
  inPart,
  isMap,
  modulesWith,
  type PartNeed,
  partsOf,
  readNumbers,
  readPart,
  type StoredLayer,
  scaleTypeNames,
  scaleTypeOf,
  unsignedWords,
  wrongField,
} from './stored_layer.ts'

interface MlxScheme {
  bits: MlxBits
  groupSize: MlxGroupSize
}

/** `quantization` of config.json, which MLX repeats as `quantization_config`. */
export interface MlxConfig extends MlxScheme {
  /** Of single modules, by their path; undefined where one is not quantised. */
  modules: ReadonlyMap<string, MlxScheme | undefined>
}

/** @throws FormatError for an option that Pare does not read. */
export function readMlxConfig(config: Record<string, unknown>): MlxConfig {
  const { group_size, bits, mode, ...paths } = config
  const base = { group_size, bits, mode }
  const modules = new Map<string, MlxScheme | undefined>()
  for (const [path, own] of Object.entries(paths)) {
    // Of other fields, such as the method, nothing is needed.
    if (own === false) modules.set(path, undefined)
    else if (isMap(own)) modules.set(path, readScheme(`${printable(path)}.`, { ...base, ...own }))
  }
  return { ...readScheme('', base), modules }
}

function readScheme(at: string, config: Record<string, unknown>): MlxScheme {
  const wrong = (field: string, need: string, found: unknown) =>
    wrongField('MLX', 'PARE_E_MLX_CONFIG', `${at}${field}`, need, found)
  const { bits, group_size: groupSize, mode = 'affine' } = config
  if (mode !== 'affine') throw wrong('mode', 'affine', mode)
  if (!mlxBits.includes(bits as MlxBits)) throw wrong('bits', mlxBits.join(', '), bits)
  if (!mlxGroupSizes.includes(groupSize as MlxGroupSize))
    throw wrong('group_size', mlxGroupSizes.join(', '), groupSize)
  return { bits: bits as MlxBits, groupSize: groupSize as MlxGroupSize }
}

/** The layers and embeddings that have scales. What the configuration leaves out has a plain tensor, and is none. */
export function mlxLayers(archive: TensorArchive, config: MlxConfig): StoredLayer[] {
  return modulesWith(archive, 'scales').map((stem) => {
    const scheme = config.modules.has(stem) ? config.modules.get(stem) : config
    if (scheme) return mlxLayer(archive, stem, scheme)
    throw new FormatError(
      `${printable(stem)}: has scales, but the configuration leaves it as it is; the configuration does not fit`,
      { code: 'PARE_E_MLX_CONFIG', facts: { module: stem } },
    )
  })
}

function mlxLayer(archive: TensorArchive, stem: string, { bits, groupSize }: MlxScheme): StoredLayer {
  const name = `${stem}.weight`
  const parts = partsOf(archive, stem, ['weight', 'scales', 'biases'])
  const [out = 0, width = 0] = archive.tensors.get(name)?.shape ?? []
  const inputs = Math.floor((width * 32) / bits)
  const groups = inputs / groupSize
  const need = (types: readonly string[], ...shape: number[]): PartNeed => ({
    types,
    shape,
    code: 'PARE_E_MLX_TENSOR',
  })
  return {
    info: { name, shape: [out, inputs], type: `mlx-${bits}bit`, bytes: bytesOfParts(archive, parts) },
    parts,
    values(start, end) {
      const rows = [start, end] as const
      const count = end - start
      const words = unsignedWords(readPart(archive, name, need(['U32'], out, width), rows))
      const numbers = (suffix: string) =>
        readNumbers(archive, `${stem}.${suffix}`, need(scaleTypeNames, out, groups), rows)
      const [scales, offsets] = [numbers('scales'), numbers('biases')]
      const codes = inPart(name, () => unpackMlx(words, count, inputs, bits))
      return scope(() => ({
        kind: 'offset',
        form: { bits, groupSize, scaleType: scaleTypeOf(archive, `${stem}.scales`) },
        codes: tensor(codes, [count, inputs], 'u8'),
        scales: tensor(scales, [count, groups]),
        offsets: tensor(offsets, [count, groups]),
        groupOf: neighbourGroups(inputs, groupSize),
      }))
    },
  }
}
