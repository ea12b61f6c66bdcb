/** Fields of OpenAI's interface that Pare does not serve, and the values of them that ask for nothing. */
import { isRecord } from '../formats/json.ts'
import { badRequest } from './api_error.ts'

interface Unsupported {
  what: string
  /** Whether the value asks for nothing beyond what is served. @default never */
  harmless?: (value: unknown) => boolean
}

const isFalse = (value: unknown) => value === false
const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0
const functions: Unsupported = { what: 'function calls are not served', harmless: isEmpty }
const search: Unsupported = { what: 'the web is not searched' }

export const unsupportedFields: Readonly<Record<string, Unsupported>> = {
  tools: functions,
  functions,
  tool_choice: { ...functions, harmless: (value) => value === 'none' || value === 'auto' },
  function_call: { ...functions, harmless: (value) => value === 'none' || value === 'auto' },
  parallel_tool_calls: { ...functions, harmless: (value) => typeof value === 'boolean' },
  response_format: {
    what: 'texts have no other form than text',
    harmless: (value) => isRecord(value) && value.type === 'text' && Object.keys(value).length === 1,
  },
  modalities: {
    what: 'text is the only kind of answer',
    harmless: (value) => JSON.stringify(value) === '["text"]',
  },
  audio: { what: 'sound is not served' },
  prediction: { what: 'predicted outputs are not served' },
  store: { what: 'nothing is stored', harmless: isFalse },
  metadata: { what: 'nothing is stored' },
  reasoning_effort: { what: 'the effort cannot be chosen' },
  verbosity: { what: 'the length of an answer cannot be chosen but with max_tokens' },
  service_tier: {
    what: 'there is one tier',
    harmless: (value) => value === 'auto' || value === 'default',
  },
  web_search_options: search,
  moderation: { what: 'texts are not moderated' },
  suffix: { what: 'texts cannot be filled in before a suffix' },
}

/**
 * The fields without those that ask for nothing.
 *
 * @throws ApiError 400 that names the first one which asks for what is not served.
 */
export function checkSupported(fields: Record<string, unknown>): Record<string, unknown> {
  const served: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(fields)) {
    const field = Object.hasOwn(unsupportedFields, name) ? unsupportedFields[name] : undefined
    if (!field) served[name] = value
    else if (!field.harmless?.(value))
      throw badRequest(`${name}: ${field.what}; leave it out`, name, 'unsupported_field')
  }
  return served
}
