/**
 * What programs that load a folder by themselves ask of it, made where the source has none.
 *
 *   config.json              `architectures` (vLLM picks the model by it), the type of the floats
 *   generation_config.json   where texts end; vLLM and mlx-lm read it before config.json
 *   tokenizer.json or tokenizer.model, tokenizer_config.json, special_tokens_map.json
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { strictJson } from '../../formats/json.ts'
import { FormatError, printable } from '../../tensor/errors.ts'
import { configToHuggingFace } from '../llama/config.ts'
import type { OpenLanguageModel } from '../open_model.ts'
import { type FolderCompanions, type FolderSource, json } from './folder_source.ts'
import { withGenerationConfig } from './generation_config.ts'
import { tokenizerConfig } from './target.ts'

/** The same source, whose companions are whole. */
export const wholeFolder = (source: OpenLanguageModel, from: FolderSource): FolderSource => ({
  ...from,
  companions: () => completed(source, from.companions()),
})

/** @throws FormatError where there is no tokenizer that other programs read. */
function completed(source: OpenLanguageModel, { config, files }: FolderCompanions): FolderCompanions {
  const all = new Map(files)
  const pieces = join(source.path, 'tokenizer.model')
  if (existsSync(pieces)) all.set('tokenizer.model', readFileSync(pieces))
  if (!all.has('tokenizer.json') && !all.has('tokenizer.model'))
    throw new FormatError(
      `${printable(source.path)}: needs a tokenizer.json for the program that the result is for, and has none; put it beside the weights, or choose --target pare`,
      { code: 'PARE_E_TOKENIZER', facts: { folder: source.path } },
    )
  const add = (name: string, content: () => Record<string, unknown>) => {
    if (!all.has(name)) all.set(name, json(content()))
  }
  add('tokenizer_config.json', () => tokenizerConfig(source.tokenizer(), source))
  add('special_tokens_map.json', () => specialTokens(all.get('tokenizer_config.json')!))
  return withGenerationConfig({ config: wholeConfig(source, config), files: all })
}

/** The floats of these folders are halves; `dtype` is the newer name of `torch_dtype`, and would win over it. */
function wholeConfig({ model }: OpenLanguageModel, config: Record<string, unknown>): Record<string, unknown> {
  const { architectures = configToHuggingFace(model.config).architectures, dtype, ...rest } = config
  return { architectures, ...rest, ...(dtype === undefined ? {} : { dtype: 'float16' }) }
}

const tokenNames = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'additional_special_tokens']

function specialTokens(tokenizerConfig: Uint8Array | string): Record<string, unknown> {
  const text =
    typeof tokenizerConfig === 'string' ? tokenizerConfig : new TextDecoder().decode(tokenizerConfig)
  const fields = strictJson('tokenizer_config.json', text) as Record<string, unknown> | null
  return Object.fromEntries(tokenNames.flatMap((name) => (fields?.[name] ? [[name, fields[name]]] : [])))
}
