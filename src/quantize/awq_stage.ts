/** The search of AWQ on one stage after the other: see awq.ts. */
import { InputMagnitudes } from '../calibrate/input_magnitudes.ts'
import type { WalkModel } from '../calibrate/walk.ts'
import { type ScalingGroup, scalingOf } from '../models/scaling_groups.ts'
import type { Stage, StageContext } from '../models/stage.ts'
import type { TensorEdit } from '../models/tensor_edits.ts'
import type { Linear } from '../nn/linear.ts'
import { denseSource } from '../nn/weight_source.ts'
import { AbortError } from '../tensor/errors.ts'
import { scope, type Tensor, tensor } from '../tensor/index.ts'
import type { AwqGroup, AwqOptions } from './awq.ts'
import { searchClip } from './clip_search.ts'
import { searchScales } from './scale_search.ts'
import type { SearchInputs } from './search_inputs.ts'

type SearchOptions = Required<
  Pick<AwqOptions, 'grid' | 'gridPoints' | 'duoScaling' | 'clip' | 'clipTokens'>
> &
  Pick<AwqOptions, 'signal'>

/** The search on one stage after the other. */
export class StageSearch {
  readonly edits = new Map<string, TensorEdit[]>()
  readonly found: AwqGroup[] = []
  readonly notes = new Set<string>()
  private readonly options: SearchOptions
  private readonly model: WalkModel
  private stage!: Stage
  private inputs!: SearchInputs
  private magnitudes: InputMagnitudes[] = []
  private groups: readonly ScalingGroup[] = []
  private scoring: readonly Linear[] = []
  /** s of the inputs of weights, and what their outputs were divided by. */
  private readonly columns = new Map<string, Float64Array>()
  private readonly rows = new Map<string, Float64Array>()

  constructor(options: SearchOptions, model: WalkModel) {
    this.options = options
    this.model = model
  }

  begin(stage: Stage, inputs: SearchInputs): void {
    Object.assign(this, { stage, inputs, magnitudes: [], ...scalingOf(stage, 'awq') })
  }

  /** @returns whether it was the last segment of the batch */
  observe(batch: number, linears: readonly Linear[], x: Tensor): boolean {
    const segment = this.stage.segments.findIndex((each) => each.linears === linears)
    this.magnitudes[segment] ??= new InputMagnitudes(x.extent(-1))
    this.magnitudes[segment].add(x)
    this.inputs.add(batch, segment, x, this.groupOf(segment)?.mixesTokens ?? false)
    return segment === this.stage.segments.length - 1
  }

  remark(note: string): void {
    this.notes.add(note)
  }

  finish(progress: (share: number) => void): void {
    const { gridPoints } = this.options
    const points = this.groups.length * gridPoints
    let done = 0
    for (const [segment, { linears }] of this.stage.segments.entries()) {
      this.magnitudes[segment]!.checkFinite(linears[0]!.name)
      const dead = this.magnitudes[segment]!.dead()
      if (dead > 0) this.remark(`${linears[0]!.name}: ${dead} inputs are always 0`)
      const group = this.groupOf(segment)
      if (!group) continue
      scope(() => this.searchGroup(group, segment, () => progress(Math.min(1, ++done / points))))
    }
    if (this.options.clip)
      for (const [segment, { linears }] of this.stage.segments.entries())
        for (const linear of linears)
          if (!this.scoring.includes(linear)) scope(() => this.clipOne(linear, segment))
  }

  private searchGroup(group: ScalingGroup, segment: number, tried: () => void): void {
    const { gridPoints, duoScaling } = this.options
    const weights = group.linears.map(({ name, source }) => ({
      name,
      weight: source.dense(),
      grid: this.options.grid(name, source.shape),
    }))
    if (weights.every(({ grid }) => !grid)) return
    const result = searchScales({
      weights,
      means: this.magnitudes[segment]!.means(),
      loss: this.lossOf(group, segment, tried),
      gridPoints,
      duoScaling,
    })
    const { scales, exponent, loss, lossOfRounding } = result
    this.found.push({ weights: weights.map(({ name }) => name), exponent, loss, lossOfRounding })
    if (scales.every((s) => s === 1)) return
    for (const { name } of weights) {
      this.add(name, { kind: 'scaleColumns', by: scales })
      this.columns.set(name, scales)
    }
    const by = scales.map((s) => 1 / s)
    for (const name of group.divided) {
      this.add(name, { kind: 'scaleRows', by })
      this.rows.set(name, by)
    }
  }

  /** Mean squared error of the module's output against that of the float weights, on the picked inputs. */
  private lossOf(
    group: ScalingGroup,
    segment: number,
    tried: () => void,
  ): (rounded: readonly Tensor[]) => number {
    const inputs = group.mixesTokens
      ? this.inputs.whole(segment).map((x) => ({ x, context: this.model.context(x.extent(-2)) }))
      : this.inputs.pieces(segment).map((x) => ({ x, context: {} as StageContext }))
    const cases = inputs.map((each) => ({ ...each, reference: group.output(each.x, each.context) }))
    const count = cases.reduce((total, { reference }) => total + reference.size, 0)
    return (rounded) => {
      if (this.options.signal?.aborted) throw new AbortError()
      tried()
      return exchanged(group.linears, rounded, () => {
        const losses = cases.map(({ x, context, reference }) =>
          scope(() => group.output(x, context).sub(reference).square().sum().item()),
        )
        return losses.reduce((total, loss) => total + loss, 0) / count
      })
    }
  }

  private clipOne({ name, source }: Linear, segment: number): void {
    const { grid: gridOf, clipTokens, signal } = this.options
    const grid = gridOf(name, source.shape)
    if (!grid) return
    if (signal?.aborted) throw new AbortError()
    const [columns, rows] = [this.columns.get(name), this.rows.get(name)]
    const picked = this.inputs.picked(segment)
    const stride = Math.max(1, Math.ceil(picked.extent(0) / clipTokens))
    let x = picked.slice(0, 0, picked.extent(0), stride)
    let weight = source.dense()
    if (columns) {
      const scales = tensor(columns, [1, columns.length], weight.dtype)
      x = x.div(scales)
      weight = weight.mul(scales)
    }
    if (rows) weight = weight.mul(tensor(rows, [rows.length, 1], weight.dtype))
    const { bounds, groupSize, cut } = searchClip(weight, x, grid)
    if (cut > 0) this.add(name, { kind: 'clamp', bounds, groupSize })
  }

  private add(name: string, edit: TensorEdit): void {
    this.edits.set(name, [...(this.edits.get(name) ?? []), edit])
  }

  private groupOf(segment: number): ScalingGroup | undefined {
    const [first] = this.stage.segments[segment]!.linears
    return this.groups.find(({ linears }) => linears.includes(first!))
  }
}

/** What `body` gives while the layers hold other weights. */
function exchanged<T>(linears: readonly Linear[], weights: readonly Tensor[], body: () => T): T {
  const before = linears.map(({ source }) => source)
  try {
    for (const [i, linear] of linears.entries()) linear.source = denseSource(weights[i]!)
    return body()
  } finally {
    for (const [i, linear] of linears.entries()) linear.source = before[i]!
  }
}
