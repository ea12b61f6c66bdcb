/** The training of a whole result towards the distributions of its source, once all of its weights are stored. */
import { join } from 'node:path'
import type { ModelTuner, StageTuning } from '../calibrate/stage_tuner.ts'
import { openModel } from '../models/load_model.ts'
import { languageModel, type OpenCompressible, type OpenLanguageModel } from '../models/open_model.ts'
import { runStage, type Stage } from '../models/stage.ts'
import { floatsOf } from '../models/stage_floats.ts'
import type { TargetPlan } from '../models/write/model_writer.ts'
import type { Linear } from '../nn/linear.ts'
import { type StoredSource, storedSource } from '../nn/values/values.ts'
import { AbortError, NumericalError } from '../tensor/errors.ts'
import { scope, type Tensor } from '../tensor/index.ts'
import type { RunHooks } from './evaluate.ts'
import type { StageEntry, TunedEntry } from './journal_entries.ts'
import type { RunFolder } from './run_folder.ts'
import { readShard, writeShard } from './shards.ts'
import { storedNumbers } from './stage_store.ts'
import { storedFloats } from './step_tuning.ts'
import { digestOf, roundsValues } from './verify/value_digest.ts'

export interface ModelTuning {
  source: OpenCompressible
  /** The result as it was put together. */
  path: string
  target: TargetPlan
  samples: readonly Uint32Array[]
  tuner: ModelTuner
  hooks: RunHooks
  /** Seconds of work, over all sittings. */
  elapsed(): number
}

/**
 * Trains a result, and writes its stages anew beside those before.
 *
 * @returns the line of the journal
 * @throws NumericalError where the result puts out what is not finite; AbortError when `signal` stops it
 */
export function tuneResult(folder: RunFolder, tuning: ModelTuning): TunedEntry {
  const result = languageModel(openModel(tuning.path))
  try {
    return scope(() => {
      const teacher = teacherOf(languageModel(tuning.source), tuning)
      const stages = result.model.stages.map((plan) => storedStage(plan.load(), result))
      const found = train(result, stages, teacher, tuning)
      return {
        kind: 'tuned',
        losses: [...found.losses],
        kept: found.kept,
        stages: folder.stages.map((entry, i) => writeTuned(folder, entry, stages[i]!, found, tuning)),
        seconds: tuning.elapsed(),
      }
    })
  } finally {
    result.close()
  }
}

function train(
  { model }: OpenLanguageModel,
  stages: readonly Stage[],
  teacher: (sample: number) => Tensor,
  { samples, tuner, hooks }: ModelTuning,
): StageTuning {
  const { progress, signal } = hooks
  const head = model.loadHead()
  const student = (sample: number) =>
    scope(() => {
      const ids = samples[sample]!
      const context = model.context(ids.length)
      let hidden = model.embed(ids)
      for (const stage of stages) {
        const before = hidden
        hidden = scope(() => runStage(stage, before, context))
      }
      return head.logits(hidden)
    })
  const found = tuner.tune(
    stages,
    { count: samples.length, student, teacher },
    {
      signal,
      progress: (share) =>
        progress?.({ kind: 'progress', phase: 'compress', share, text: `the whole model, ${tuner.name}` }),
    },
  )
  if (found.losses.every(Number.isFinite)) return found
  throw new NumericalError(
    'the whole model: its logits are not finite with the weights as they are stored; take more bits, or leave the training out',
    { code: 'PARE_E_NOT_FINITE' },
  )
}

/** Logits of the source; its hidden states before the head are kept, f32 [tokens, hidden] of each sample. */
function teacherOf(
  { model }: OpenLanguageModel,
  { samples, hooks: { progress, signal } }: ModelTuning,
): (sample: number) => Tensor {
  let states = samples.map((ids) => model.embed(ids))
  for (const [index, plan] of model.stages.entries()) {
    if (signal?.aborted) throw new AbortError()
    const [share, text] = [index / model.stages.length, `${plan.name} of the source`]
    progress?.({ kind: 'progress', phase: 'compress', share, text })
    states = scope(() => {
      const stage = plan.load()
      return states.map((before) => {
        const after = scope(() => runStage(stage, before, model.context(before.extent(0))))
        before.dispose()
        return after
      })
    })
  }
  const head = model.loadHead()
  return (sample) => head.logits(states[sample]!)
}

/** Weights of codes in the form in which they are stored, in the place of their numbers. */
function storedStage(stage: Stage, { weights }: OpenLanguageModel): Stage {
  for (const linear of linearsOf(stage)) {
    const values = weights.stored?.(linear.name)
    if (!values) continue
    linear.source = storedSource(values)
  }
  return stage
}

const linearsOf = ({ segments }: Stage): Linear[] => segments.flatMap(({ linears }) => linears)

/** The shard of a stage with what was trained in it in the place of what was. */
function writeTuned(
  { work }: RunFolder,
  entry: StageEntry,
  stage: Stage,
  { floats }: StageTuning,
  { target }: ModelTuning,
): StageEntry {
  const plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
  const sketch = roundsValues(target.target)
  const trained = new Map(
    linearsOf(stage).flatMap(({ name, source }) =>
      (source as Partial<StoredSource>).values?.kind === 'codebook' ? [[name, source] as const] : [],
    ),
  )
  const own = new Set(floatsOf(stage).map(({ name }) => name))
  return scope(() => {
    const encoded = [...trained].flatMap(([name, source]) => target.encodeSource(plans.get(name)!, source))
    const numbers = floats
      .filter(({ name }) => own.has(name))
      .map((float) => ({
        plan: plans.get(float.name)!,
        values: storedNumbers(plans.get(float.name)!, float.get()),
      }))
    for (const { plan, values } of numbers) encoded.push(...target.encodeNumbers(plan, values))
    const exchanged = new Set(encoded.map(({ name }) => name))
    const names = [...entry.layers.map(({ name }) => name), ...storedFloats(entry).map(({ name }) => name)]
    const stored = names.flatMap((name) => target.stored(plans.get(name)!))
    const before = readShard(join(work, entry.shard.name), entry.shard, stored)
    const kept = [...before].filter(({ name }) => !exchanged.has(name))
    const { inputs: _, ...rest } = entry
    return {
      ...rest,
      shard: writeShard(join(work, `tuned-${String(entry.index).padStart(4, '0')}.safetensors`), [
        ...kept,
        ...encoded,
      ]),
      layers: entry.layers.map((layer) => {
        const source = trained.get(layer.name)
        return source ? { ...layer, values: scope(() => digestOf(source.dense(), { sketch })) } : layer
      }),
      floats: numbers.map(({ plan, values }) => ({
        name: plan.name,
        values: digestOf(values, { sketch: false }),
      })),
    }
  })
}
