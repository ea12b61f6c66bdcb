/** The folder of a training: whether it may be used, and how the result comes into it. */
import { existsSync, readdirSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { disk } from '../../formats/disk.ts'
import { isUnfinished, writeWhole } from '../../formats/output.ts'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import type { Parameters } from '../../nn/parameters.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { scope, type Tensor } from '../../tensor/index.ts'
import { checkpointsIn } from '../../train/training_file.ts'
import { workName } from '../journal.ts'
import { checkReplaceable } from '../output_place.ts'
import { checkpointFolder } from '../training_run.ts'
import { reportName } from './training_report.ts'

const logName = 'log.jsonl'
export const weightsName = 'model.safetensors'

/**
 * Refuses a folder that holds something else than a training of Pare.
 *
 * @param inside what must not be lost where the folder is replaced
 * @throws OptionError
 */
export function checkTrainingFolder(output: string, overwrite: boolean, inside: readonly string[]): void {
  if (!existsSync(output)) return
  if (existsSync(join(output, reportName)) || checkpointsIn(checkpointFolder(output)).length > 0) return
  const others = foreign(output)
  if (others.length === 0) return
  if (overwrite) {
    checkReplaceable(output, inside)
    return
  }
  throw new OptionError(
    `--output: ${printable(output)} holds ${others.length === 1 ? '1 file' : `${others.length} files`}; name another folder or give --overwrite`,
    { code: 'PARE_E_OUTPUT', facts: { output, files: others.length } },
  )
}

/** What is no part of a training that has only begun. */
const foreign = (output: string): string[] =>
  readdirSync(output).filter((name) => name !== workName && name !== logName)

/**
 * Writes the files of the result, each whole: weights, companions, config.json, and training.json as the last, which
 * says that all is there.
 *
 * @returns their names
 */
export function writeTrainingResult(
  output: string,
  {
    parameters,
    files,
    stored,
    report,
  }: {
    parameters: Parameters
    files: ReadonlyMap<string, string | Uint8Array>
    stored: 'f32' | 'bf16' | 'f16'
    report: (files: readonly string[]) => unknown
  },
): void {
  writeWeights(join(output, weightsName), parameters, stored)
  const names = [...files.keys()].sort(
    (a, b) => Number(a === 'config.json') - Number(b === 'config.json') || (a < b ? -1 : 1),
  )
  for (const name of names) writeWhole(join(output, name), files.get(name)!)
  const all = [logName, weightsName, ...names, reportName]
  for (const name of foreign(output))
    if (!all.includes(name) || isUnfinished(name)) disk().remove(join(output, name))
  writeWhole(join(output, reportName), `${JSON.stringify(report(all), null, 2)}\n`)
}

/** Trained numbers and running statistics, rounded once. */
function writeWeights(path: string, parameters: Parameters, stored: 'f32' | 'bf16' | 'f16'): void {
  const states = [...parameters.states()]
  const writer = createSafetensors(
    path,
    states.map(([name, { shape }]) => ({ name, shape, type: stored.toUpperCase() })),
  )
  try {
    for (const [name, state] of states)
      scope(() => {
        const values: Tensor = state.tensor()
        writer.append(name, (values.dtype === stored ? values : values.cast(stored)).bytes())
      })
  } catch (error) {
    writer.abort()
    throw error
  }
  writer.finish()
}

/** Removes what only an unfinished training needs. */
export const removeWork = (output: string): void => disk().remove(join(output, workName))

/** Leaves no trace of a run that has no checkpoint yet. @param made whether the folder was made for it */
export function removeUnbegun(output: string, made: boolean): void {
  if (checkpointsIn(checkpointFolder(output)).length > 0 || existsSync(join(output, reportName))) return
  removeWork(output)
  disk().remove(join(output, logName))
  if (!made) return
  try {
    rmdirSync(output)
  } catch {
    // Something else was put there in the meantime.
  }
}
