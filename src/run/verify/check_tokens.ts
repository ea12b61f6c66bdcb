/** Whether texts become the same token ids, and conversations the same texts. */
import { createHash } from 'node:crypto'
import { modelChatTemplate } from '../../formats/tokenizer/chat_template.ts'
import type { Tokenizer } from '../../formats/tokenizer/tokenizer.ts'
import type { OpenModel } from '../../models/open_model.ts'
import { PareError, printable, SourceError } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import { conversation, multilingual } from './fixed_texts.ts'
import { type Check, checkOf, skipped, type TemplateRecord, type TokenRecord } from './verification.ts'

/** The tokenizer of a model; undefined where it has none. @throws FormatError where it has one that is damaged */
export function tokenizerOf(open: OpenModel): Tokenizer | undefined {
  try {
    return open.tokenizer()
  } catch (error) {
    if (error instanceof SourceError && error.code === 'PARE_E_TOKENIZER_MISSING') return undefined
    throw error
  }
}

/** Ids of the fixed text, or what is wrong with the tokenizer. */
export type FoundTokens = { ids: Uint32Array } | { missing: true } | { fault: string }

export function tokensOf(open: OpenModel): FoundTokens {
  try {
    const tokenizer = tokenizerOf(open)
    return tokenizer ? { ids: tokenizer.encode(multilingual) } : { missing: true }
  } catch (error) {
    if (!(error instanceof PareError)) throw error
    return { fault: error.message }
  }
}

export const recordTokens = (ids: Uint32Array): TokenRecord => ({
  count: ids.length,
  sha256: createHash('sha256').update(bytesOf(ids)).digest('hex'),
})

/** @param recorded is asked only where there is no source */
export function checkTokens(
  result: FoundTokens,
  source: FoundTokens | undefined,
  recorded: TokenRecord | undefined,
): Check {
  if ('fault' in result) return checkOf('tokens', [result.fault], 'the tokenizer cannot be read')
  if (source && 'fault' in source)
    return skipped('tokens', `the tokenizer of the source cannot be read: ${source.fault}`)
  const missing = 'missing' in result
  if (source && 'ids' in source) {
    if (missing) return checkOf('tokens', ['there is no tokenizer, the source has one'], 'no tokenizer')
    const [ids, expected] = [result.ids, source.ids]
    const differing = firstDifference(ids, expected)
    const faults =
      differing === undefined
        ? []
        : [
            `token ${differing} is ${ids[differing] ?? 'none'}, of the source ${expected[differing] ?? 'none'}`,
          ]
    return checkOf(
      'tokens',
      faults,
      faults.length === 0
        ? `${ids.length} ids of a text in many scripts are those of the source`
        : `${ids.length} ids of a text in many scripts, of the source ${expected.length}`,
      { tokens: ids.length, tokensSource: expected.length },
    )
  }
  if (source)
    return skipped(
      'tokens',
      missing ? 'neither has a tokenizer' : 'the source has no tokenizer to compare with',
    )
  if (!recorded)
    return skipped('tokens', missing ? 'there is no tokenizer' : 'nothing to compare with; give --source')
  if (missing) return checkOf('tokens', ['there is no tokenizer, the report knows of one'], 'no tokenizer')
  const { count, sha256 } = recordTokens(result.ids)
  const faults =
    sha256 === recorded.sha256
      ? []
      : [`${count} ids, others than the ${recorded.count} that the report knows`]
  return checkOf(
    'tokens',
    faults,
    faults.length === 0 ? `${count} ids of a text in many scripts are those of the report` : faults[0]!,
    { tokens: count, tokensReport: recorded.count },
  )
}

function firstDifference(a: Uint32Array, b: Uint32Array): number | undefined {
  const most = Math.max(a.length, b.length)
  for (let i = 0; i < most; i++) if (a[i] !== b[i]) return i
  return undefined
}

/** The fixed conversation as the model writes it, that it has no template, or why it cannot be written. */
export type FoundTemplate = { text: string } | { missing: true } | { fault: string }

/** A moment for templates that write the date. */
const now = new Date(Date.UTC(2024, 0, 2))

export function templateOf(open: OpenModel): FoundTemplate {
  try {
    const sources = open.chatTemplates()
    if (!sources.has('default')) return { missing: true }
    const tokenizer = tokenizerOf(open)
    if (!tokenizer) return { fault: 'there is a template, but no tokenizer for its tokens' }
    const template = modelChatTemplate(sources, tokenizer)
    return { text: template.render(conversation, { addGenerationPrompt: true, now }) }
  } catch (error) {
    if (!(error instanceof PareError)) throw error
    return { fault: error.message }
  }
}

export const recordTemplate = (found: FoundTemplate): TemplateRecord | undefined =>
  'fault' in found
    ? undefined
    : 'missing' in found
      ? {}
      : { sha256: createHash('sha256').update(found.text, 'utf8').digest('hex') }

/** @param recorded is asked only where there is no source */
export function checkTemplate(
  result: FoundTemplate,
  source: FoundTemplate | undefined,
  recorded: TemplateRecord | undefined,
): Check {
  // A template that refuses the conversation in both is the same one.
  if (source && 'fault' in source)
    return 'fault' in result && result.fault === source.fault
      ? checkOf('template', [], `both fail alike: ${printable(result.fault)}`)
      : skipped('template', `that of the source cannot be rendered: ${printable(source.fault)}`)
  if (!source && !recorded) return skipped('template', 'nothing to compare with; give --source')
  if ('fault' in result) return checkOf('template', [result.fault], 'cannot be rendered')
  const expectedMissing = source ? 'missing' in source : recorded!.sha256 === undefined
  const of = source ? 'the source' : 'the report'
  if ('missing' in result)
    return expectedMissing
      ? checkOf('template', [], 'none in either')
      : checkOf('template', [`there is none, ${of} has one`], 'no template')
  if (expectedMissing) return checkOf('template', [`there is one, ${of} has none`], 'a template too many')
  const same = source
    ? 'text' in source && source.text === result.text
    : recordTemplate(result)!.sha256 === recorded!.sha256
  const faults = same
    ? []
    : [
        source && 'text' in source
          ? whereTextsPart(result.text, source.text)
          : 'the text is not that of the report',
      ]
  return checkOf(
    'template',
    faults,
    same
      ? `four turns become the ${result.text.length} characters of ${of}`
      : 'four turns become another text',
    { characters: result.text.length },
  )
}

function whereTextsPart(a: string, b: string): string {
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  const from = (text: string) => printable(text.slice(at, at + 24)) || 'its end'
  return `character ${at}: "${from(a)}", of the source "${from(b)}"`
}
