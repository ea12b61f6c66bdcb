/** Layers of an AWQ checkpoint, version "gemm", 4 bits: codes and zeros packed along the outputs, out of order. */
import type { TensorArchive } from '../../formats/archive.ts'
import { unpackAwq } from '../../formats/awq_packing.ts'
import { type AffineValues, neighbourGroups } from '../../nn/grid.ts'
import { scope, tensor } from '../../tensor/index.ts'
import {
  bytesOfParts,
  gridRows,
  isPositive,
  modulesWith,
  type PartNeed,
  partsOf,
  readNumbers,
  readPart,
  type StoredLayer,
  scaleTypeNames,
  scaleTypeOf,
  signedWords,
  wrongField,
} from './stored_layer.ts'

/** `quantization_config` of an AWQ checkpoint. */
export interface AwqConfig {
  groupSize: number | 'row'
}

/** @throws FormatError for an option that Pare does not read. */
export function readAwqConfig(config: Record<string, unknown>): AwqConfig {
  const need = (field: string, fits: (value: unknown) => boolean, what: string, fallback: unknown) => {
    const value = config[field] ?? fallback
    if (!fits(value)) throw wrongField('AWQ', 'PARE_E_AWQ_CONFIG', field, what, value)
    return value
  }
  need('bits', (bits) => bits === 4, '4', 4)
  need('version', (version) => String(version).toLowerCase() === 'gemm', 'gemm', 'gemm')
  need('backend', (backend) => backend === 'autoawq', 'autoawq', 'autoawq')
  need('zero_point', (zeros) => zeros === true, 'true', true)
  const size = need('group_size', (n) => n === -1 || isPositive(n), '-1 or a whole number above 0', 128)
  return { groupSize: size === -1 ? 'row' : (size as number) }
}

/** The layers that have codes. What the checkpoint leaves out has a plain tensor, and is none. */
export function awqLayers(archive: TensorArchive, config: AwqConfig): StoredLayer[] {
  return modulesWith(archive, 'qweight').map((stem) => {
    const parts = partsOf(archive, stem, ['qweight', 'qzeros', 'scales'])
    const [inputs = 0, words = 0] = archive.tensors.get(`${stem}.qweight`)!.shape
    const shape = [words * 8, inputs] as const
    return {
      info: { name: `${stem}.weight`, shape, type: 'awq-4bit', bytes: bytesOfParts(archive, parts) },
      parts,
      values: (start, end) => gridRows(readAwq(archive, stem, shape, config), start, end),
    }
  })
}

function readAwq(
  archive: TensorArchive,
  stem: string,
  [out, inputs]: readonly [number, number],
  { groupSize }: AwqConfig,
): AffineValues {
  const width = groupSize === 'row' ? Math.max(1, inputs) : groupSize
  const groups = Math.ceil(inputs / width)
  const need = (types: readonly string[], ...shape: number[]): PartNeed => ({
    types,
    shape,
    code: 'PARE_E_AWQ_TENSOR',
  })
  const unpacked = (suffix: string, rows: number) =>
    unpackAwq(signedWords(readPart(archive, `${stem}.${suffix}`, need(['I32'], rows, out / 8))), rows, out)
  const codes = unpacked('qweight', inputs) // [in, out]
  const zeros = unpacked('qzeros', groups) // [groups, out]
  const scales = readNumbers(archive, `${stem}.scales`, need(scaleTypeNames, groups, out))
  return scope(() => ({
    kind: 'grid',
    grid: { bits: 4, groupSize, symmetric: false, scaleType: scaleTypeOf(archive, `${stem}.scales`) },
    codes: tensor(codes, [inputs, out], 'u8').transpose().contiguous(),
    scales: tensor(scales, [groups, out]).transpose().contiguous(),
    zeros: tensor(zeros, [groups, out], 'u8').transpose().contiguous(),
    groupOf: neighbourGroups(inputs, width),
  }))
}
