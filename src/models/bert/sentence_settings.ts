/**
 * How a sentence encoder makes one vector of a text, as sentence-transformers stores it beside the model:
 *
 *   modules.json               the steps in order, each with the folder of its own config.json
 *   N_Pooling/config.json      pooling_mode_mean_tokens, pooling_mode_cls_token
 *   sentence_bert_config.json  max_seq_length, do_lower_case
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { isRecord, strictJson } from '../../formats/json.ts'
import { readJsonFile, readText } from '../../formats/tokenizer/tokenizer.ts'
import { FormatError, printable } from '../../tensor/errors.ts'

export interface SentenceSettings {
  /** `mean` over the tokens of the text, or the state of the first token. */
  pooling: 'mean' | 'first'
  /** Vectors of length 1. */
  normalize: boolean
  /** Tokens of a text, special ones included; what is longer is cut. Nothing: as many as the model has positions. */
  longest?: number
  /** Texts are made lower case first. */
  lowerCase: boolean
}

const modulesFile = 'modules.json'
const lengthFile = 'sentence_bert_config.json'
const largestModules = 1 << 20

/**
 * Settings of a model folder. Without modules.json: the mean, not normalised, as sentence-transformers takes it.
 *
 * @throws FormatError for a step or a kind of pooling that Pare does not compute.
 */
export function readSentenceSettings(folder: string): SentenceSettings {
  const settings: SentenceSettings = { pooling: 'mean', normalize: false, ...lengthSettings(folder) }
  for (const { type, path } of readModules(folder)) {
    const kind = type.replace(/^.*\./, '')
    if (kind === 'Pooling') settings.pooling = readPooling(folder, path)
    else if (kind === 'Normalize') settings.normalize = true
    else if (kind !== 'Transformer') {
      throw new FormatError(
        `${modulesFile}: the step ${printable(type)} is not supported; Pare computes Transformer, Pooling and Normalize`,
        { code: 'PARE_E_SENTENCE_STEP', facts: { step: type } },
      )
    }
  }
  return settings
}

/**
 * The files that say so, by their names below the folder; those that are not there are left out.
 *
 * @throws FormatError for a modules.json that is damaged
 */
export function sentenceFiles(folder: string): Map<string, Uint8Array> {
  const steps = readModules(folder).flatMap(({ path }) => (path === '' ? [] : [`${path}/config.json`]))
  const names = [modulesFile, lengthFile, 'config_sentence_transformers.json', ...steps]
  const files = names.filter((name) => existsSync(join(folder, name)))
  return new Map(files.map((name) => [name, readFileSync(join(folder, name))]))
}

function lengthSettings(folder: string): Pick<SentenceSettings, 'longest' | 'lowerCase'> {
  const config = readJsonFile(join(folder, lengthFile)) ?? {}
  const longest = config.max_seq_length ?? undefined
  if (longest !== undefined && !(Number.isInteger(longest) && (longest as number) > 0)) {
    throw new FormatError(
      `sentence_bert_config.json: max_seq_length must be a whole number above 0, got ${printable(JSON.stringify(longest))}`,
    )
  }
  return {
    lowerCase: config.do_lower_case === true,
    ...(longest === undefined ? {} : { longest: longest as number }),
  }
}

/**
 * Tokens of a text, special ones included: as many as the settings say, and no more than the model has positions.
 *
 * @param context positions of the model
 * @param frame special tokens around every text
 * @throws FormatError where no token of a text has room beside the special ones
 */
export function longestText({ longest }: SentenceSettings, context: number, frame: number): number {
  const [file, field, found] =
    longest !== undefined && longest < context
      ? ['sentence_bert_config.json', 'max_seq_length', longest]
      : ['config.json', 'max_position_embeddings', context]
  if (found > frame) return found
  throw new FormatError(
    `${file}: ${field} needs ${frame + 1} at least, for ${frame} special tokens and one of a text, got ${found}; correct it, or fetch the model again`,
    { code: 'PARE_E_SENTENCE_LENGTH', facts: { needed: frame + 1, found } },
  )
}

/** The steps of modules.json; none without the file. */
function readModules(folder: string): { type: string; path: string }[] {
  const text = readText(join(folder, modulesFile), largestModules)
  if (text === undefined) return []
  const list = strictJson(modulesFile, text)
  if (!Array.isArray(list)) throw new FormatError(`${modulesFile}: a list of steps is needed; it is damaged`)
  return list.map((step) => {
    const { type, path } = isRecord(step) ? step : {}
    // A path could lead out of the model's folder.
    if (typeof type === 'string' && typeof path === 'string' && /^(?:[\w-][\w.-]*)?$/.test(path))
      return { type, path }
    throw new FormatError(
      `${modulesFile}: every step needs a type and the plain name of a folder; it is damaged`,
    )
  })
}

function readPooling(folder: string, path: string): SentenceSettings['pooling'] {
  const file = `${path}/config.json`
  const config = readJsonFile(join(folder, file))
  if (!config) throw new FormatError(`${printable(file)}: is missing; fetch the model again`)
  const chosen = Object.keys(config).filter((key) => key.startsWith('pooling_mode_') && config[key] === true)
  if (chosen.length === 1 && chosen[0] === 'pooling_mode_mean_tokens') return 'mean'
  if (chosen.length === 1 && chosen[0] === 'pooling_mode_cls_token') return 'first'
  throw new FormatError(
    `${printable(file)}: Pare computes either pooling_mode_mean_tokens or pooling_mode_cls_token, got ${printable(chosen.join(', ') || 'none')}`,
    { code: 'PARE_E_POOLING', facts: { chosen } },
  )
}
