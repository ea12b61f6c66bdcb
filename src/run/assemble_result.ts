/** Puts the files of a result together from the shards of its stages and the rest of the source. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { writeWhole } from '../formats/output.ts'
import type { OpenCompressible } from '../models/open_model.ts'
import type { ResolvedSource } from '../models/source/resolved.ts'
import type { ModelWriter, TargetPlan } from '../models/write/model_writer.ts'
import type { RunHooks } from './evaluate.ts'
import { writeInBlocks } from './numbers_in_blocks.ts'
import type { RunFolder } from './run_folder.ts'
import { readShard } from './shards.ts'
import { storedFloats } from './step_tuning.ts'

/** Weights, the files of the target beside them, and the licences of the source. */
export function assembleResult(
  source: OpenCompressible & { resolved: ResolvedSource },
  target: TargetPlan,
  folder: RunFolder,
  hooks: RunHooks,
): void {
  folder.clearResult()
  const writer = target.create(folder.result)
  try {
    const plans = new Map(target.tensors.map((plan) => [plan.name, plan]))
    const trained = new Set<string>()
    for (const stage of folder.stages) {
      const { index, shard } = stage
      const floats = storedFloats(stage).map(({ name }) => name)
      for (const name of floats) trained.add(name)
      const names = [...source.model.stages[index]!.weights, ...floats]
      const stored = names.flatMap((name) => target.stored(plans.get(name)!))
      for (const { name, bytes } of readShard(join(folder.work, shard.name), shard, stored))
        writer.append(name, bytes)
    }
    writeRest(source, target, trained, writer, hooks)
    writer.finish()
  } catch (error) {
    writer.abort()
    throw error
  }
  for (const file of source.resolved.licenseFiles)
    writeWhole(join(folder.result, basename(file)), readFileSync(file))
}

/** Norms, biases, embedding and head, but for those that were trained. */
function writeRest(
  source: OpenCompressible,
  target: TargetPlan,
  trained: ReadonlySet<string>,
  writer: ModelWriter,
  { progress }: RunHooks,
): void {
  const rest = target.tensors.filter(({ name, role }) => role !== 'matrix' && !trained.has(name))
  for (const [index, plan] of rest.entries()) {
    progress?.({ kind: 'progress', phase: 'write', share: index / rest.length, text: plan.name })
    writeInBlocks(target, plan, source.weights, writer)
  }
}
