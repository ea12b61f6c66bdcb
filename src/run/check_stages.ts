/** Whether a journal tells of the model at hand. */
import { join } from 'node:path'
import type { ModelWeights } from '../models/model_weights.ts'
import type { StagePlan } from '../models/stage.ts'
import { printable } from '../tensor/errors.ts'
import { damagedJournal } from './journal.ts'
import { journalName } from './journal_entries.ts'
import type { RunFolder } from './run_folder.ts'
import { storedFloats } from './step_tuning.ts'

/** A journal may say anything. @throws StateError where its stages are not those of the model */
export function checkStages(
  { state, work }: RunFolder,
  stages: readonly StagePlan[],
  { infos }: Pick<ModelWeights, 'infos'>,
): void {
  const trained = new Set<string>()
  const wrong = state.stages.find((stage) => {
    const { index, name, layers } = stage
    const weights = new Set(stages[index]?.weights)
    const named = new Set(layers.map((layer) => layer.name))
    // Norms and biases, each once.
    const isFloat = (float: string) =>
      infos.get(float)?.shape.length === 1 && trained.size < trained.add(float).size
    if (!storedFloats(stage).every((float) => isFloat(float.name))) return true
    return name !== stages[index]?.name || named.size !== layers.length || !sameNames(named, weights)
  })
  if (!wrong && (!state.result || state.stages.length === stages.length)) return
  throw damagedJournal(
    join(work, journalName),
    wrong
      ? `tells of a stage ${printable(wrong.name)} that the model does not have so`
      : 'tells of a result before its stages',
  )
}

const sameNames = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((name) => b.has(name))
