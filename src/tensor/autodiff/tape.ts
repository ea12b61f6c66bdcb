/**
 * The tape of reverse-mode differentiation: operations that a gradient may flow through, in the order in which they ran,
 * each with what its backward wants to read. Going back frees that, entry by entry.
 */
import { computes } from '../dtype.ts'
import { OptionError, ShapeError, StateError } from '../errors.ts'
import { zerosLike } from '../makers.ts'
import type { Entry, GradientContext, Operation, Recorder, Saved } from '../operation.ts'
import { unrecorded, withRecorder } from '../operation.ts'
import { scope } from '../scope.ts'
import { sameShape, showShape } from '../shape.ts'
import type { Memory, Tensor } from '../tensor.ts'

type AnyOperation = Operation<readonly (Tensor | undefined)[], unknown, Tensor | readonly Tensor[]>

/** A tensor that outlives its scope until its entry was gone back over. */
interface Kept {
  readonly tensor: Tensor
  /** Of its memory when it was kept. */
  readonly version: number
}

interface Node {
  readonly operation: AnyOperation
  readonly options: unknown
  /** Numbers of the values on the tape; undefined for inputs that get no gradient. */
  readonly inputs: readonly (number | undefined)[]
  readonly outputs: readonly number[]
  /** As they were handed over: alive or not, their shapes can be read. */
  readonly inputTensors: readonly (Tensor | undefined)[]
  readonly outputTensors: readonly Tensor[]
  readonly single: boolean
  readonly keptInputs: ReadonlyMap<number, Kept>
  readonly keptOutputs: ReadonlyMap<number, Kept>
}

export class Tape implements Recorder {
  /** The number of a value on the tape. Wrappers stay here after their scope has freed what they hold. */
  private readonly values = new Map<Tensor, number>()
  private readonly nodes: Node[] = []
  private readonly leaves: ReadonlySet<Memory>
  private readonly held = new Map<Memory, number>()

  /** @param leaves what gradients are asked for */
  constructor(leaves: readonly Tensor[]) {
    for (const leaf of leaves) this.number(leaf)
    this.leaves = new Set(leaves.map(({ memory }) => memory))
  }

  tracks(x: Tensor): boolean {
    return this.values.has(x)
  }

  /**
   * Bytes that the tape keeps alive for the way back. A buffer counts once, however many views of it are kept; those of
   * the leaves and of named states do not count, since they live anyway.
   */
  get savedBytes(): number {
    let bytes = 0
    for (const memory of this.held.keys()) if (!this.leaves.has(memory) && !memory.name) bytes += memory.bytes
    return bytes
  }

  /** Entries that a gradient may flow through. */
  get length(): number {
    return this.nodes.length
  }

  record({ operation, inputs, options, output }: Entry): void {
    const needs = inputs.map((x) => x !== undefined && this.values.has(x))
    if (!needs.includes(true)) return
    const single = !Array.isArray(output)
    const outputs = (single ? [output] : output) as readonly Tensor[]
    if (!outputs.some(({ dtype }) => computes(dtype))) return
    const known = operation as unknown as AnyOperation
    const saved = known.saves?.(needs, options) ?? {}
    this.nodes.push({
      operation: known,
      options,
      inputs: inputs.map((x) => x && this.values.get(x)),
      outputs: outputs.map((x) => this.number(x)),
      inputTensors: inputs,
      outputTensors: outputs,
      single,
      keptInputs: this.keep(saved.inputs, inputs),
      keptOutputs: this.keep(saved.outputs, outputs),
    })
  }

  /** Runs `body` with its operations on the tape. */
  run<T>(body: () => T): T {
    return withRecorder(this, body)
  }

  /**
   * Gradients of the leaves for given gradients of values on the tape; undefined for a leaf that none reaches. What was
   * kept is freed on the way: a tape goes back once.
   *
   * @throws StateError where a state that was kept has changed in place since; OptionError where a gradient arrives at an
   * operation that has none.
   */
  backward(
    roots: readonly (readonly [value: Tensor, gradient: Tensor])[],
    leaves: readonly Tensor[],
  ): (Tensor | undefined)[] {
    return unrecorded(() =>
      scope(() => {
        const arrived = new Map<number, Tensor>()
        for (const [value, gradient] of roots) {
          const number = this.values.get(value)
          if (number !== undefined) this.arrive(arrived, number, value, gradient.alias(), 'the loss')
        }
        const wanted = new Set(leaves.map((leaf) => this.values.get(leaf)))
        for (let node = this.nodes.pop(); node; node = this.nodes.pop()) {
          try {
            this.goBack(node, arrived, wanted)
          } finally {
            this.free(node)
          }
        }
        return leaves.map((leaf) => arrived.get(this.values.get(leaf) ?? -1))
      }),
    )
  }

  /** Frees what is kept, where nobody goes back. */
  dispose(): void {
    for (let node = this.nodes.pop(); node; node = this.nodes.pop()) this.free(node)
    this.values.clear()
  }

  private goBack(node: Node, arrived: Map<number, Tensor>, wanted: ReadonlySet<number | undefined>): void {
    const { operation, outputs, inputs, inputTensors } = node
    const gradients = outputs.map((number) => arrived.get(number))
    if (gradients.every((gradient) => gradient === undefined)) return
    if (!operation.backward)
      throw new OptionError(
        `${operation.name}: has no gradient; keep it out of the loss, or stop it with stopGradient`,
        { code: 'PARE_E_NO_GRADIENT', facts: { operation: operation.name } },
      )
    const found = scope(() => {
      const given = operation.backward!(contextOf(node, gradients))
      // One tensor for two inputs would be freed twice.
      const seen = new Set<Tensor | undefined>(gradients)
      return given.map((gradient, i) => {
        if (!gradient || inputs[i] === undefined) return undefined
        const own = seen.has(gradient) ? gradient.alias() : gradient
        seen.add(own)
        return own
      })
    })
    for (const [i, number] of outputs.entries())
      if (!wanted.has(number)) {
        gradients[i]?.dispose()
        arrived.delete(number)
      }
    for (const [i, gradient] of found.entries())
      if (gradient) this.arrive(arrived, inputs[i]!, inputTensors[i]!, gradient, operation.name)
  }

  /** Adds to the gradient of a value; takes `gradient` over. */
  private arrive(
    arrived: Map<number, Tensor>,
    number: number,
    { shape, dtype }: Tensor,
    gradient: Tensor,
    from: string,
  ): void {
    if (!sameShape(gradient.shape, shape) || gradient.dtype !== dtype)
      throw new ShapeError(
        `gradient of ${from}: needs ${dtype} ${showShape(shape)}, got ${gradient.dtype} ${showShape(gradient.shape)}`,
      )
    const before = arrived.get(number)
    arrived.set(number, before ? before.add(gradient) : gradient)
    if (before) for (const part of [before, gradient]) part.dispose()
  }

  private number(x: Tensor): number {
    const known = this.values.get(x)
    if (known !== undefined) return known
    this.values.set(x, this.values.size)
    return this.values.size - 1
  }

  private keep(positions: Saved['outputs'], tensors: readonly (Tensor | undefined)[]): Map<number, Kept> {
    const kept = new Map<number, Kept>()
    const list =
      positions && 'from' in positions ? [...tensors.keys()].slice(positions.from) : (positions ?? [])
    for (const position of list) {
      const tensor = tensors[position]
      if (!tensor) continue
      const own = tensor.alias()
      own.adopt()
      kept.set(position, { tensor: own, version: own.memory.version })
      this.held.set(own.memory, (this.held.get(own.memory) ?? 0) + 1)
    }
    return kept
  }

  private free({ keptInputs, keptOutputs }: Node): void {
    for (const { tensor } of [...keptInputs.values(), ...keptOutputs.values()]) {
      const count = this.held.get(tensor.memory)! - 1
      if (count > 0) this.held.set(tensor.memory, count)
      else this.held.delete(tensor.memory)
      tensor.dispose()
    }
  }
}

function contextOf(
  node: Node,
  gradients: readonly (Tensor | undefined)[],
): GradientContext<readonly (Tensor | undefined)[], unknown, Tensor | readonly Tensor[]> {
  const { operation, options, inputs, inputTensors, outputTensors, keptInputs, keptOutputs, single } = node
  const current = (tensor: Tensor | undefined, kept: Kept | undefined) => {
    if (!kept) return tensor
    const { memory } = kept.tensor
    if (memory.version === kept.version) return kept.tensor
    const name = memory.name ?? 'a tensor'
    throw new StateError(
      `${operation.name}: ${name} was changed in place after the forward read it; go back before the step that changes it`,
      { code: 'PARE_E_CHANGED_IN_PLACE', facts: { operation: operation.name, state: name } },
    )
  }
  const outputs = outputTensors.map((tensor, i) => current(tensor, keptOutputs.get(i))!)
  return {
    options,
    gradients,
    inputs: inputTensors.map((tensor, i) => current(tensor, keptInputs.get(i))),
    output: single ? outputs[0]! : outputs,
    needs: inputs.map((number) => number !== undefined),
    get gradient() {
      return gradients[0] ?? zerosLike(outputTensors[0]!)
    },
  }
}
