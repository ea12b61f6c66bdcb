/** Where an exported model stands in its folder: `model.onnx`, or as transformers.js looks for it. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { GridForm } from '../../nn/grid.ts'
import { OptionError } from '../../tensor/errors.ts'
import type { OnnxTypes } from './weight_tensors.ts'

export type OnnxLayout = 'onnx' | 'transformers.js'

/** Ending of the file's name by what transformers.js calls its `dtype`. */
export const suffixes = { fp32: '', fp16: '_fp16', q8: '_quantized', q4: '_q4', q4f16: '_q4f16' } as const
export type TransformersJsType = keyof typeof suffixes

/**
 * What transformers.js calls a file: by the type of the numbers where all weights are numbers, else by the codes and the
 * type of the activations.
 *
 * @throws OptionError where it has no name for it
 */
export function transformersJsType(
  { numbers, activations }: OnnxTypes,
  grid: GridForm | undefined,
): TransformersJsType {
  if (!grid) return numbers === 'F32' ? 'fp32' : 'fp16'
  if (grid.bits === 4) return activations === 'F32' ? 'q4' : 'q4f16'
  if (grid.bits === 8 && activations === 'F32') return 'q8'
  throw new OptionError(
    `transformers.js has files of 4 bits in f32 or f16, and of 8 bits in f32, got ${grid.bits} bits in ${activations === 'F32' ? 'f32' : 'f16'}; choose one of them, or --target onnx`,
    { code: 'PARE_E_LAYER_FORM', facts: { bits: grid.bits, type: activations } },
  )
}

/** Below the folder, with `/`. */
export const fileOf = (layout: OnnxLayout, type: TransformersJsType): string =>
  layout === 'onnx' ? 'model.onnx' : `onnx/model${suffixes[type]}.onnx`

/**
 * The ONNX model of a folder, or nothing where there is none. Of several the one that config.json names for
 * transformers.js, then the plain ones, then the first by name.
 *
 * @param configJson of the folder
 */
export function findOnnx(folder: string, configJson: Record<string, unknown> = {}): string | undefined {
  const own = configJson['transformers.js_config'] as { dtype?: unknown } | undefined
  const named = String(own?.dtype ?? '')
  const asked = Object.hasOwn(suffixes, named) ? [fileOf('transformers.js', named as TransformersJsType)] : []
  const inner = join(folder, 'onnx')
  const others = existsSync(inner)
    ? readdirSync(inner)
        .filter((name) => /^model.*\.onnx$/.test(name))
        .sort()
    : []
  const names = [...asked, 'model.onnx', 'onnx/model.onnx', ...others.map((name) => `onnx/${name}`)]
  const found = names.find((name) => existsSync(join(folder, name)))
  return found === undefined ? undefined : join(folder, found)
}
