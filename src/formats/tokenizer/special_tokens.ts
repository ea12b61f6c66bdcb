/** Which ids begin and end a text, as the files beside a tokenizer.json say it. */

import { isRecord } from '../json.ts'
import { isId, type JsonRecord } from './tokenizer_json.ts'

export interface SpecialIds {
  bosId?: number
  /** Every id that ends a generation, the tokenizer's own first. */
  eosIds: readonly number[]
  unknownId?: number
  paddingId?: number
}

/** The parsed files of a model folder; what is missing is left out. */
export interface SpecialTokenFiles {
  tokenizerConfig?: JsonRecord | undefined
  specialTokensMap?: JsonRecord | undefined
  generationConfig?: JsonRecord | undefined
  config?: JsonRecord | undefined
}

/**
 * Names of tokens come from tokenizer_config.json, then special_tokens_map.json; ids from
 * generation_config.json, then config.json. A name that the vocabulary does not have counts as missing.
 */
export function specialIds(
  { tokenizerConfig, specialTokensMap, generationConfig, config }: SpecialTokenFiles,
  idOf: (token: string) => number | undefined,
): SpecialIds {
  const named = (key: string) => {
    for (const file of [tokenizerConfig, specialTokensMap]) {
      const token = tokenText(file?.[key])
      const id = token === undefined ? undefined : idOf(token)
      if (id !== undefined) return id
    }
    return undefined
  }
  const numbered = (key: string) => idList(generationConfig?.[key] ?? config?.[key])
  const bosId = named('bos_token') ?? numbered('bos_token_id')[0]
  const eos = named('eos_token')
  const unknownId = named('unk_token')
  const paddingId = named('pad_token') ?? numbered('pad_token_id')[0]
  return {
    ...(bosId !== undefined && { bosId }),
    eosIds: [...new Set([...(eos === undefined ? [] : [eos]), ...numbered('eos_token_id')])],
    ...(unknownId !== undefined && { unknownId }),
    ...(paddingId !== undefined && { paddingId }),
  }
}

/** A token is a string, or an object with its `content`. */
export function tokenText(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return isRecord(value) && typeof value.content === 'string' ? value.content : undefined
}

function idList(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter(isId)
}
