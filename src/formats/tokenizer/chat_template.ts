/**
 * Chat templates: Jinja programs that come with a model and turn messages into the text it was trained on.
 * They are untrusted; `template_sandbox.ts` bounds what one may do.
 */

import { join } from 'node:path'
import { FormatError, OptionError, printable } from '../../tensor/errors.ts'
import type { GgufMetadata } from '../gguf/metadata.ts'
import { isRecord } from '../json.ts'
import { stringOf } from './gguf_values.ts'
import { compileTemplate } from './template_program.ts'
import { runTemplate, type TemplateLimits } from './template_sandbox.ts'
import { readJsonFile, readText, type Tokenizer } from './tokenizer.ts'

/** One turn; fields beside these (tool calls, images) reach the template as they are. */
export interface ChatMessage {
  role: string
  content?: unknown
  [field: string]: unknown
}

export interface RenderOptions {
  /** Ends with the beginning of the assistant's turn. @default false */
  addGenerationPrompt?: boolean
  /** JSON schemas of functions that the model may call. @default none */
  tools?: readonly unknown[]
  /** Further variables, such as `enable_thinking`; they must be plain data. @default none */
  variables?: Readonly<Record<string, unknown>>
  /** What `strftime_now` shows, in UTC. @default the time of the call */
  now?: Date
}

export interface ChatTemplate {
  /** The template's text. */
  readonly source: string
  /**
   * @throws OptionError (PARE_E_TEMPLATE_REFUSED) if the template refuses the messages, FormatError
   *   (PARE_E_TEMPLATE_LIMIT) if it does too much, (PARE_E_TEMPLATE) if it fails.
   */
  render(messages: readonly ChatMessage[], options?: RenderOptions): string
}

export interface ChatTemplateOptions {
  /** Texts of the tokens that templates write. @default '' */
  bosToken?: string
  eosToken?: string
  limits?: TemplateLimits
}

/**
 * Compiles a template.
 *
 * @throws FormatError if it does not parse, is too large, or reaches for the insides of the interpreter.
 * @example chatTemplate("{{ messages[0].content }}").render([{ role: 'user', content: 'Hi' }]) // 'Hi'
 */
export function chatTemplate(source: string, options: ChatTemplateOptions = {}): ChatTemplate {
  const { bosToken = '', eosToken = '', limits } = options
  const program = compileTemplate(source)
  return {
    source,
    render(messages, { addGenerationPrompt = false, tools, variables = {}, now = new Date() } = {}) {
      const data = plainData({
        ...variables,
        messages,
        tools: tools ?? null,
        add_generation_prompt: addGenerationPrompt,
        bos_token: bosToken,
        eos_token: eosToken,
      })
      return runTemplate(program, data, now, limits)
    },
  }
}

/** What JSON can hold: no functions, no prototypes, no cycles. */
function plainData(variables: Record<string, unknown>): string {
  try {
    return JSON.stringify(variables)
  } catch (cause) {
    throw new OptionError(
      `chat messages: must be plain data (${printable((cause as Error).message)}); remove cycles and big integers`,
      { code: 'PARE_E_MESSAGES', cause },
    )
  }
}

/** Templates by name; `default` is the usual one. */
export type ChatTemplateSources = ReadonlyMap<string, string>

const LARGEST_TEMPLATE_FILE = 1 << 20

/**
 * The templates of a model folder: chat_template.jinja, which wins, or `chat_template` of
 * tokenizer_config.json, a string or a list of `{ name, template }`. Empty if there is none.
 *
 * @throws FormatError if a file is damaged.
 */
export function chatTemplateSources(folder: string): ChatTemplateSources {
  const sources = new Map<string, string>()
  const configured = readJsonFile(join(folder, 'tokenizer_config.json'))?.chat_template
  if (typeof configured === 'string') sources.set('default', configured)
  for (const entry of Array.isArray(configured) ? configured : [])
    if (isRecord(entry) && typeof entry.name === 'string' && typeof entry.template === 'string')
      sources.set(entry.name, entry.template)
  const file = readText(join(folder, 'chat_template.jinja'), LARGEST_TEMPLATE_FILE)
  if (file !== undefined) sources.set('default', file)
  return sources
}

/** The template of a GGUF file, as `default`; named ones stand under `tokenizer.chat_template.NAME`. */
export function ggufChatTemplateSources(metadata: GgufMetadata): ChatTemplateSources {
  const key = 'tokenizer.chat_template'
  const sources = new Map<string, string>()
  for (const name of metadata.keys()) {
    if (name !== key && !name.startsWith(`${key}.`)) continue
    sources.set(name === key ? 'default' : name.slice(key.length + 1), stringOf(metadata, name)!)
  }
  return sources
}

/**
 * A template of a model, with the texts of its tokens. `name` picks one of several. @default 'default'
 *
 * @throws FormatError (PARE_E_NO_TEMPLATE) if the model has none.
 */
export function modelChatTemplate(
  sources: ChatTemplateSources,
  tokenizer: Tokenizer,
  { name = 'default', limits }: { name?: string; limits?: TemplateLimits } = {},
): ChatTemplate {
  const source = sources.get(name)
  if (source === undefined)
    throw new FormatError(
      `chat template ${printable(name)}: the model has ${[...sources.keys()].map((n) => printable(n)).join(', ') || 'none'}; give the text without a template or choose another`,
      { code: 'PARE_E_NO_TEMPLATE', facts: { name, found: [...sources.keys()] } },
    )
  const textOf = (id: number | undefined) => (id === undefined ? undefined : tokenizer.token(id))
  const bosToken = textOf(tokenizer.bosId)
  const eosToken = textOf(tokenizer.eosIds[0])
  return chatTemplate(source, {
    ...(bosToken !== undefined && { bosToken }),
    ...(eosToken !== undefined && { eosToken }),
    ...(limits && { limits }),
  })
}
