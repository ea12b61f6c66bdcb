/** Weights against the shapes that a config promises. */
import { FormatError, printable } from '../tensor/errors.ts'
import type { ModelWeights } from './model_weights.ts'

/** @throws FormatError that names the weight where it is missing or has another shape. */
export function checkWeightShape(weights: ModelWeights, name: string, shape: readonly number[]): void {
  const info = weights.infos.get(name)
  if (info?.shape.length === shape.length && shape.every((extent, i) => extent === info.shape[i])) return
  const found = info ? `[${info.shape.join(', ')}]` : 'nothing'
  throw new FormatError(
    `${printable(name)}: the config asks for [${shape.join(', ')}], the file has ${found}; it is damaged or another model's`,
    {
      code: 'PARE_E_WEIGHT_SHAPE',
      facts: { tensor: name, needed: [...shape], found },
    },
  )
}
