/**
 * What the OBC experiment does to layers: every method at every level, on one set of Gram matrices of the network as it was.
 *
 * Grids have one scale and one zero a row, as in the paper, and search a narrower range (80 steps, error to the power 2.4);
 * what lives of a pruned weight is stored in f16 with a bit for each place. Methods with a Hessian all damp it by 0.01.
 */
import { compressGroups, type LayerGrams } from '#src/calibrate/layer_grams.ts'
import type { LayerMethod } from '#src/calibrate/method.ts'
import { GramStatistic } from '#src/calibrate/statistics.ts'
import { type WalkModel, walk } from '#src/calibrate/walk.ts'
import type { ModelWeights } from '#src/models/model_weights.ts'
import { affineGrid } from '#src/nn/grid.ts'
import { exactObs } from '#src/prune/exact_obs.ts'
import { oneShotMagnitude } from '#src/prune/one_shot_magnitude.ts'
import type { Pattern } from '#src/prune/pattern.ts'
import { sparsegpt } from '#src/prune/sparsegpt.ts'
import { gptq } from '#src/quantize/gptq.ts'
import { obq } from '#src/quantize/obq.ts'
import { rtn } from '#src/quantize/rtn.ts'
import { scope, type Tensor } from '#src/tensor/index.ts'

export const roundings = ['rtn', 'gptq', 'obq'] as const
export const prunings = ['magnitude', 'sparsegpt', 'obs'] as const
export type MethodName = (typeof roundings)[number] | (typeof prunings)[number]
export type LevelName = '4 bits' | '3 bits' | '50% zeros' | '2:4'

/** Whether it draws samples to calibrate on. */
export const isCalibrated = (method: string): boolean => method !== 'rtn' && method !== 'magnitude'

export const rowGrid = (bits: 2 | 3 | 4 | 8) => affineGrid({ bits, groupSize: 'row', search: true })
export const twoOfFour = { kind: 'n:m', n: 2, m: 4 } as const satisfies Pattern
export const damping = 0.01

/** @param weights that share the zeros of a level; half of them, rounded down, so that all methods make as many */
export function methodOf(name: MethodName, level: LevelName, weights: number): LayerMethod {
  const zeros = level === '2:4' ? { pattern: twoOfFour } : { sparsity: Math.floor(weights / 2) / weights }
  switch (name) {
    case 'rtn':
      return rtn() as LayerMethod
    case 'gptq':
      return gptq({ damping, actOrder: true, staticGroups: true, onSingular: 'round' }) as LayerMethod
    case 'obq':
      return obq({ damping, onSingular: 'round' }) as LayerMethod
    case 'magnitude':
      return oneShotMagnitude(zeros)
    case 'sparsegpt':
      return sparsegpt({ ...zeros, damping })
    case 'obs':
      return exactObs({ ...zeros, damping })
  }
}

/** Weights in a few bits, or with zeros, and what they take. */
export interface Compressed {
  /** Decoded, [out, inputs of a window]. */
  weights: Map<string, Tensor>
  bits: number
  /** Numbers in these weights. */
  size: number
  /** Of all cores together, without the calibration. */
  processorSeconds: number
}

/** All layers by one method; they do not see each other. */
export function compressLayers(
  layers: readonly LayerGrams[],
  method: MethodName,
  level: LevelName,
): Compressed {
  const grid = level === '4 bits' ? rowGrid(4) : level === '3 bits' ? rowGrid(3) : undefined
  const clock = processorClock()
  const result: Compressed = { weights: new Map(), bits: 0, size: 0, processorSeconds: 0 }
  for (const layer of layers) {
    const each = layer.weight.size / layer.groups.length
    const { decoded, bits } = scope(() => {
      const { decoded, edits } = compressGroups(methodOf(method, level, each), layer, grid)
      return { decoded, bits: edits.reduce((sum, { source }) => sum + source.size().storedBits, 0) }
    })
    result.weights.set(layer.name, decoded)
    result.bits += bits
    result.size += layer.weight.size
  }
  return { ...result, processorSeconds: clock() }
}

/** Seconds that this process has had of all cores since. */
export function processorClock(): () => number {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1e6
  }
}

/** Gram matrices of some linear weights of a model that runs in stages, all from the model as it is. */
export async function gramsOfWalk(
  { model, weights }: { model: WalkModel; weights: ModelWeights },
  samples: readonly Uint32Array[],
  isWanted: (name: string) => boolean,
): Promise<LayerGrams[]> {
  const statistics = new Map<string, GramStatistic>()
  await walk({
    model,
    samples,
    visitor: {
      observe(linears, x) {
        const wanted = linears.filter(({ name }) => isWanted(name))
        if (wanted.length === 0) return
        const first = wanted[0]!.name
        const statistic = statistics.get(first) ?? new GramStatistic(first, x.extent(-1))
        for (const { name } of wanted) statistics.set(name, statistic)
        statistic.add(x)
      },
    },
  })
  return [...statistics].map(([name, statistic]) => {
    const gathered = statistic.value()
    return {
      name,
      weight: weights.load(name),
      groups: [{ gram: gathered.gram!, rows: gathered.rows }],
      samples: samples.length,
      uses: gathered.rows / samples.length,
    }
  })
}

/** A store in which some weights are others. */
export const withWeights = (weights: ModelWeights, others: ReadonlyMap<string, Tensor>): ModelWeights => ({
  infos: weights.infos,
  fileBytes: weights.fileBytes,
  load: (name) => others.get(name) ?? weights.load(name),
  rows: (name, ids) => weights.rows(name, ids),
  slice: (name, start, end) => weights.slice(name, start, end),
  close: () => {},
})
