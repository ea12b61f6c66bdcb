/** Hugging Face folders whose weights are plain numbers: what any program opens, and quantises again where it wants. */

import { planCheckpoint } from './checkpoint_target.ts'
import type { FolderSource } from './folder_source.ts'
import { gridForm, type LayerEncoding } from './layer_encoding.ts'
import type { TargetPlan } from './model_writer.ts'
import type { Sharding } from './sharding.ts'
import type { FloatType, TensorChoices } from './tensor_choice.ts'

export interface FloatTargetOptions extends Sharding {
  /** Type of the linear weights, embedding and head that nothing else is asked for. */
  type: FloatType
  /** What is asked for single tensors: another type of numbers, or to be left as they are. */
  choices?: TensorChoices
}

/**
 * Plans the folder.
 *
 * @throws OptionError where codes are asked for.
 */
export function planFloats(
  source: FolderSource,
  { type, choices, ...sharding }: FloatTargetOptions,
): TargetPlan {
  const all = new Map(
    [...source.infos.values()].map(
      ({ name }) => [name, choices?.get(name) ?? { numbers: type, by: '--type' }] as const,
    ),
  )
  return planCheckpoint(source, floatEncoding(type), { ...sharding, choices: all })
}

const floatEncoding = (type: FloatType): LayerEncoding => ({
  target: 'huggingface',
  title: 'a folder of plain numbers',
  mixed: false,
  formOf: gridForm,
  need: () => 'numbers',
  tensors: () => [],
  encode: () => [],
  // The newer name would win over the older one.
  configuration: () => ({ torch_dtype: torchNames[type], dtype: torchNames[type] }),
})

const torchNames = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const
