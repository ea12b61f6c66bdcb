/** The folder of a training: whether it may be used, and how the result comes into it. */
import { existsSync, readdirSync, realpathSync, rmdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { disk } from '../../formats/disk.ts'
import { isUnfinished, writeWhole } from '../../formats/output.ts'
import { createSafetensors } from '../../formats/safetensors/writer.ts'
import { workName } from '../../models/source/incomplete_folder.ts'
import type { Parameters } from '../../nn/parameters.ts'
import { type Facts, OptionError, printable } from '../../tensor/errors.ts'
import { scope, type Tensor } from '../../tensor/index.ts'
import { carriedPrefix } from '../../train/carried_state.ts'
import { distillationPrefix } from '../../train/distillation.ts'
import { checkpointsIn } from '../../train/training_file.ts'
import { journalName } from '../journal_entries.ts'
import { checkpointFolder } from '../training_run.ts'
import { companionNames } from './language_files.ts'
import { reportName } from './training_report.ts'

const logName = 'log.jsonl'
export const weightsName = 'model.safetensors'
/** All that a result may consist of. Files of other names are those of somebody else, and stay. */
const resultNames: readonly string[] = [logName, weightsName, ...companionNames, 'config.json', reportName]
/** Beside a result they would make another model of it. */
const modelMarks = ['pare.json', journalName]

/**
 * Refuses a folder that holds something else than a training of Pare, and one that holds what is trained from.
 *
 * @param inputs recipe, model and teacher, which the result must not replace
 * @throws OptionError
 */
export function checkTrainingFolder(output: string, overwrite: boolean, inputs: readonly string[]): void {
  if (!existsSync(output)) return
  const refuse = (what: string, wayOut: string, facts: Facts = {}) => {
    throw new OptionError(`--output: ${printable(output)} ${what}; ${wayOut}`, {
      code: 'PARE_E_OUTPUT',
      facts: { output, ...facts },
    })
  }
  const lost = inputs.find((path) => isReplaced(path, output))
  if (lost !== undefined)
    refuse(`holds ${printable(lost)}, which would be lost`, 'name another folder', { inside: lost })
  if (existsSync(join(output, workName, journalName)))
    refuse('holds a compression that is not finished', 'finish it, or name another folder')
  if (existsSync(join(output, reportName)) || checkpointsIn(checkpointFolder(output)).length > 0) return
  const others = foreign(output)
  if (others.length === 0) return
  if (!overwrite)
    refuse(
      `holds ${others.length === 1 ? '1 file' : `${others.length} files`}`,
      'name another folder or give --overwrite',
      { files: others.length },
    )
  const mark = modelMarks.find((name) => others.includes(name))
  if (mark !== undefined)
    refuse(`holds ${mark} of a compression, which would be read with the result`, 'name another folder')
}

/** Whether a result at `output` takes the place of a file or of a model. */
function isReplaced(path: string, output: string): boolean {
  if (!existsSync(path)) return false
  const [real, folder] = [realpathSync(path), realpathSync(output)]
  return real === folder || (dirname(real) === folder && resultNames.includes(basename(real)))
}

/** What is no part of a training that has only begun; what a process left that ended while it wrote is. */
function foreign(output: string): string[] {
  const names = readdirSync(output)
  const hasBegun = names.includes(workName)
  return names.filter((name) => name !== workName && !(hasBegun && name === logName) && !isUnfinished(name))
}

/**
 * Writes the files of the result, each whole: weights, companions, config.json, and training.json as the last, which
 * says that all is there. Of an earlier result what this one does not have is removed; other files stay.
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
  for (const name of readdirSync(output))
    if (isUnfinished(name) || (resultNames.includes(name) && !all.includes(name)))
      disk().remove(join(output, name))
  writeWhole(join(output, reportName), `${JSON.stringify(report(all), null, 2)}\n`)
}

/** Trained numbers and running statistics, rounded once; what only the training needs is left out. */
function writeWeights(path: string, parameters: Parameters, stored: 'f32' | 'bf16' | 'f16'): void {
  const states = [...parameters.states()].filter(
    ([name]) => !name.startsWith(distillationPrefix) && !name.startsWith(carriedPrefix),
  )
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
  if (checkpointsIn(checkpointFolder(output)).length > 0) return
  // The log goes first: without its folder of work it would be that of somebody else.
  if (!existsSync(join(output, reportName))) disk().remove(join(output, logName))
  removeWork(output)
  if (!made) return
  try {
    rmdirSync(output)
  } catch {
    // Something else was put there in the meantime.
  }
}
