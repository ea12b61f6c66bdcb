/** Gradients that add up over several backward passes. */
import { ShapeError } from '../errors.ts'
import { sameShape, showShape } from '../shape.ts'
import type { Tensor } from '../tensor.ts'

/**
 * Sums of gradients by path, for steps that go over their batch in parts.
 *
 * @example
 * const sums = new Gradients()
 * for (const part of parts) scope(() => sums.add(valueAndGrad(lossOf(part), parameters).gradients))
 * optimiser.step(sums.get())
 * sums.clear()
 */
export class Gradients {
  private sums = new Map<string, Tensor>()

  /** Adds to what is there; `gradients` stay the caller's. */
  add(gradients: ReadonlyMap<string, Tensor>): void {
    for (const [path, gradient] of gradients) {
      const before = this.sums.get(path)
      if (before && !sameShape(before.shape, gradient.shape))
        throw new ShapeError(
          `gradient of ${path}: needs ${showShape(before.shape)}, got ${showShape(gradient.shape)}`,
        )
      const after = before ? before.add(gradient) : gradient.alias()
      after.adopt()
      before?.dispose()
      this.sums.set(path, after)
    }
  }

  /** The sums of now. They belong to this until `clear`. */
  get(): ReadonlyMap<string, Tensor> {
    return this.sums
  }

  clear(): void {
    for (const sum of this.sums.values()) sum.dispose()
    this.sums = new Map()
  }
}
