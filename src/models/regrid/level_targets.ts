/** What each format that stores evenly spaced levels can hold, for `candidates.ts`. */
import { type EvenType, evenTypes } from '../../formats/gguf/block_codes.ts'
import { mlxBits, mlxGroupSizes } from '../../formats/mlx_packing.ts'
import type { LevelTarget } from './candidates.ts'

const gptq = { kind: 'grid', bits: [2, 3, 4, 8], scaleTypes: ['f16'], sorted: true } as const

export const levelTargets = {
  gguf: { kind: 'blocks', bits: [4, 5, 8], scaleTypes: ['f16'], types: Object.keys(evenTypes) as EvenType[] },
  // Version 1 stores zeros less 1, and not every reader takes what is below 0 as the largest code.
  gptq: { ...gptq, zeroLow: 1 },
  gptq_v2: gptq,
  awq: { kind: 'grid', bits: [4], scaleTypes: ['f16'] },
  'compressed-tensors': {
    kind: 'grid',
    bits: [1, 2, 3, 4, 5, 6, 7, 8],
    scaleTypes: ['f16', 'bf16', 'f32'],
    sorted: true,
    omitsZeros: true,
  },
  mlx: { kind: 'offset', bits: mlxBits, widths: mlxGroupSizes, scaleTypes: ['f16', 'bf16', 'f32'] },
  onnx: {
    kind: 'grid',
    bits: [4, 8],
    widths: [16, 32, 64, 128, 256],
    scaleTypes: ['f16', 'f32'],
    omitsZeros: true,
  },
} as const satisfies Record<string, LevelTarget>

export type LevelFormat = keyof typeof levelTargets
