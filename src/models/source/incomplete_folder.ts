/** What a folder of this disk lacks to be a model. */
import { FormatError, type PareError, printable, StateError } from '../../tensor/errors.ts'

/** Folder of an unfinished run inside of its output. */
export const workName = '.pare'

/** Weights that other folders have their settings beside. */
const weightFile = /\.(?:safetensors|onnx|pth?|bin)$/i

/**
 * The error for a folder in which no model was found.
 *
 * @param names of the files in the folder itself
 * @param isStopped whether a run of Pare lies there that was not finished
 * @returns StateError for an unfinished run, else FormatError that names what is missing.
 */
export function incompleteFolder(folder: string, names: readonly string[], isStopped: boolean): PareError {
  const facts = { source: folder }
  const subject = printable(folder, 300)
  if (isStopped)
    return new StateError(
      `${subject}: holds a run that was not finished, in ${workName}; give the command that began it again, and it goes on`,
      { code: 'PARE_E_UNFINISHED', facts },
    )
  const weights = names.filter((name) => weightFile.test(name)).sort()
  const shown = weights
    .slice(0, 3)
    .map((name) => printable(name))
    .join(', ')
  const found = weights.length > 3 ? `${shown} and ${weights.length - 3} more` : shown
  const isConfigured = names.includes('config.json')
  const what = !isConfigured
    ? weights.length > 0
      ? `has no config.json beside ${found}; get it from where the weights are from`
      : 'a .gguf file or a folder with config.json and *.safetensors is needed, none is inside; name another folder'
    : weights.length > 0
      ? `has config.json and no *.safetensors, and ${found} is not read beside it; save the weights as model.safetensors`
      : 'has config.json and no weights; model.safetensors is missing, get it from where config.json is from'
  return new FormatError(`${subject}: ${what}`, { code: 'PARE_E_SOURCE_NO_MODEL', facts })
}
