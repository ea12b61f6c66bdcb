/** Where an exported model stands in its folder: `model.onnx`, or as transformers.js looks for it. */
import type { GridForm } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { OnnxFloat } from './weight_tensors.ts'

export type OnnxLayout = 'onnx' | 'transformers.js'

/** Ending of the file's name by what transformers.js calls its `dtype`. */
export const suffixes = { fp32: '', fp16: '_fp16', q8: '_quantized', q4: '_q4', q4f16: '_q4f16' } as const
export type TransformersJsType = keyof typeof suffixes

/**
 * What transformers.js calls a file with this type of activations and these codes.
 *
 * @throws OptionError where it has no name for it
 */
export function transformersJsType(type: OnnxFloat, grid: GridForm | undefined): TransformersJsType {
  if (!grid) return type === 'F32' ? 'fp32' : 'fp16'
  if (grid.bits === 4) return type === 'F32' ? 'q4' : 'q4f16'
  if (grid.bits === 8 && type === 'F32') return 'q8'
  throw new OptionError(
    `transformers.js has files of 4 bits in f32 or f16, and of 8 bits in f32, got ${grid.bits} bits in ${type === 'F32' ? 'f32' : 'f16'}; choose one of them, or --target onnx`,
    { code: 'PARE_E_LAYER_FORM', facts: { bits: grid.bits, type } },
  )
}

/** Below the folder, with `/`. */
export const fileOf = (layout: OnnxLayout, type: TransformersJsType): string =>
  layout === 'onnx' ? 'model.onnx' : `onnx/model${suffixes[type]}.onnx`
