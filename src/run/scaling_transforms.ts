/** AWQ and SmoothQuant as transforms of a run: what they change, known from headers, and what they find. */
import type { OpenCompressible, OpenLanguageModel } from '../models/open_model.ts'
import { scalingNames } from '../models/scaling_groups.ts'
import type { TensorEdits } from '../models/tensor_edits.ts'
import { type AwqGroup, awq } from '../quantize/awq.ts'
import { smoothquant } from '../quantize/smoothquant.ts'
import type { Transform, TransformHooks } from './step_method.ts'

export const awqTransform = {
  kind: 'transform',
  summary:
    'makes weights of large activations larger and divides what comes before them by as much, so that rounding hurts less; searched on the calibration text',
  needs: ['samples'],
  forGrid: true,
  options: { gridPoints: '20', duoScaling: 'off', clip: 'on', searchTokens: '2048', clipTokens: '512' },
  names: awqNames,
  async edits(source, samples, { gridOf, ...own }, hooks) {
    const names = awqNames(source, own)
    const { model } = source as OpenLanguageModel
    const { gridPoints, duoScaling, clip, searchTokens, clipTokens, seed } = own
    const { edits, groups, notes } = await awq(model, samples ?? [], {
      ...given({ gridPoints, duoScaling, clip, searchTokens, clipTokens }),
      ...passOf(source, hooks),
      seed,
      grid: gridOf,
    })
    for (const text of [...gains(groups), ...notes]) hooks.note(text)
    return withNames(edits, names)
  },
} as const satisfies Transform

export const smoothquantTransform = {
  kind: 'transform',
  summary:
    'moves large channels of activations into the weights that take them, for programs that round activations to 8 bits',
  needs: ['samples'],
  forGrid: false,
  options: { alpha: '0.5' },
  names: smoothquantNames,
  async edits(source, samples, { alpha }, hooks) {
    const names = smoothquantNames(source)
    const { model } = source as OpenLanguageModel
    const { edits, notes } = await smoothquant(model, samples ?? [], {
      ...given({ alpha }),
      ...passOf(source, hooks),
    })
    for (const text of notes) hooks.note(text)
    return withNames(edits, names)
  },
} as const satisfies Transform

/** What shares scales, and what is cut. */
function awqNames(source: OpenCompressible, { clip = true }: { readonly clip?: boolean }): string[] {
  const scaled = scalingNames(source, 'awq').flatMap(({ divided, weights }) => [...divided, ...weights])
  const cut = clip ? source.model.stages.flatMap((stage) => stage.weights) : []
  return [...new Set([...scaled, ...cut])]
}

function smoothquantNames(source: OpenCompressible): string[] {
  return scalingNames(source, 'smoothquant').flatMap(({ kind, divided, weights }) =>
    kind === 'norm' ? [...divided, ...weights] : [],
  )
}

/** The plan counts on edits of all names, so that a search that changes nothing of one says so. */
const withNames = (edits: TensorEdits, names: readonly string[]): TensorEdits =>
  new Map(names.map((name) => [name, edits.get(name) ?? []]))

/** How the walk over the stages runs. */
function passOf({ model }: OpenCompressible, { signal, progress, scratch, activationBytes }: TransformHooks) {
  const { stages } = model
  return {
    signal,
    scratch,
    memoryLimit: activationBytes,
    progress: (stage: number, share: number) =>
      progress((stage + share) / stages.length, stages[stage]!.name),
  }
}

/** One line on what scales gained. */
function gains(groups: readonly AwqGroup[]): string[] {
  const ratios = groups.flatMap(({ loss, lossOfRounding }) =>
    lossOfRounding > 0 ? [loss / lossOfRounding] : [],
  )
  if (ratios.length === 0) return []
  const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length)
  const scaled = groups.filter(({ exponent }) => exponent !== 0 && exponent !== undefined).length
  return [
    `scales for ${scaled} of ${groups.length} groups of weights, whose modules have ${mean.toFixed(3)} of the error of rounding, the geometric mean over all groups`,
  ]
}

/** Without what is undefined, which takes the default. */
const given = <Fields extends object>(fields: Fields) =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [Name in keyof Fields]?: Exclude<Fields[Name], undefined>
  }
