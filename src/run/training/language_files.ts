/** What lies beside the weights of a language model, for transformers and for Pare. */
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.ts'
import type { ConfigJson } from '../../models/config_fields.ts'

/** Names of the files that may lie beside the weights of a language model. */
export const companionNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'generation_config.json',
  'chat_template.jinja',
] as const

/** @param context longest sequence, where the model has one */
export function languageFiles(
  config: ConfigJson,
  tokenizer: Tokenizer,
  context?: number,
): ReadonlyMap<string, string | Uint8Array> {
  const ids = { bos_token_id: tokenizer.bosId ?? null, eos_token_id: tokenizer.eosIds[0] ?? null }
  const token = (id: number | undefined) => (id === undefined ? undefined : tokenizer.token(id))
  return new Map([
    ['tokenizer.json', tokenizer.json()],
    [
      'tokenizer_config.json',
      pretty({
        tokenizer_class: 'PreTrainedTokenizerFast',
        model_max_length: context,
        bos_token: token(tokenizer.bosId),
        eos_token: token(tokenizer.eosIds[0]),
        clean_up_tokenization_spaces: false,
      }),
    ],
    ['generation_config.json', pretty(ids)],
    ['config.json', pretty({ ...config, ...ids })],
  ])
}

const pretty = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`
