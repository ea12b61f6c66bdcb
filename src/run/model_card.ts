/** The README.md of a result: front matter for the Hugging Face hub, results against the source, and the command. */
import type { EmbeddingMetrics } from '../metrics/embeddings.ts'
import type { FamilyName } from '../models/families.ts'
import { shareable, shellLine, sourceLabel } from './command_line.ts'
import { licenceName } from './licence_name.ts'
import { loadingLines } from './loading_lines.ts'
import type { CompressionReport } from './report.ts'
import { byteSize, fixed, isNumber, percent } from './report_page/numbers.ts'
import { speedRows } from './report_page/speed_section.ts'
import { methodText, speedRemarks } from './speed_report.ts'
import { programsText, type Target, type TargetName, targetTable } from './targets.ts'
import { checkWord } from './verify/verification.ts'
import { shortened, visibleLine } from './visible_text.ts'

/** What the card says of the source beside the report. */
export interface CardSource {
  /** Human name. */
  name: string
  /** What kind of model it is; decides the task that the hub lists it under. */
  family: FamilyName
  /** Licences that came with it, and lie beside the result. */
  licences: readonly { file: string; text: string }[]
}

/**
 * The card. Nothing that comes from files is markup in it: text is escaped for Markdown, values are quoted for YAML.
 * Of paths only the last part is named.
 */
export function modelCard(report: CompressionReport, source: CardSource): string {
  return `${[
    frontMatter(report, source),
    `# ${plain(source.name)}, compressed by Pare`,
    `Made from ${plain(sourceLabel(report.source))}${report.sourceSha256 ? ` (SHA-256 ${plain(report.sourceSha256)})` : ''} with ${plain(report.method)}, for ${readersOf(report)}.`,
    results(report),
    ...speed(report),
    ...loading(report, source),
    ...command(report),
    ...calibration(report),
    ...verification(report),
    `## Files\n\n${report.files.map((file) => `- ${plain(file)}`).join('\n')}`,
    'What every matrix lost, time, memory and texts side by side: `report.html`, and as data `report.json`.',
    ...(report.notes.length > 0
      ? [`## Notes\n\n${report.notes.map((note) => `- ${plain(shortened(note, 600))}`).join('\n')}`]
      : []),
  ].join('\n\n')}\n`
}

/** What is known of the target: one that a report names may be any word, also one that every object has. */
const knownTarget = ({ target }: CompressionReport): Target | undefined =>
  Object.hasOwn(targetTable, target) ? targetTable[target as TargetName] : undefined

/** Who opens it: the programs with their least versions, or whoever reads the format. */
const readersOf = (report: CompressionReport): string =>
  plain(programsText(report.programs ?? []) ?? knownTarget(report)?.readers ?? report.target)

function frontMatter(report: CompressionReport, { name, family, licences }: CardSource): string {
  // A model of the hub is named as there; what stands elsewhere has only its own name.
  const [, hubModel] = /^hf:([^/@:]+\/[^/@:]+)/.exec(report.source) ?? []
  const tags = [
    ...new Set(['pare', 'quantized', report.method, report.target, report.format ?? report.target]),
  ]
  const library = knownTarget(report)?.library
  return [
    '---',
    `base_model: ${yaml(hubModel ?? name)}`,
    'base_model_relation: quantized',
    ...(library ? [`library_name: ${library}`] : []),
    `pipeline_tag: ${family === 'bert' ? 'sentence-similarity' : 'text-generation'}`,
    ...licenceLines(licences),
    'tags:',
    ...tags.map((tag) => `  - ${yaml(tag)}`),
    '---',
  ].join('\n')
}

/** The licence, if one came with the source and there is no doubt which it is; else where to read. */
function licenceLines(licences: CardSource['licences']): string[] {
  if (licences.length === 0) return []
  const names = new Set(licences.map(({ text }) => licenceName(text)))
  const [only] = names
  if (names.size === 1 && only) return [`license: ${only}`]
  return ['license: other', 'license_name: see-file', `license_link: ${yaml(licences[0]!.file)}`]
}

/** A row for the source, the result, and what else stands beside it. */
function results(report: CompressionReport): string {
  const error = isNumber(report.klStandardError) ? ` ± ${fixed(report.klStandardError, 4)}` : ''
  const measured = isNumber(report.perplexity)
  const rows = [
    [
      '',
      'weight files',
      'bits a linear weight',
      'perplexity',
      'KL to the source, nats a token',
      'same most likely token',
      'mean cosine to the source',
      'least cosine',
    ],
    [
      'source',
      byteSize(report.bytesSource),
      '',
      measured ? fixed(report.perplexitySource, 3) : '',
      measured ? '0' : '',
      measured ? '100%' : '',
      ...cosines(report.embeddings && { meanCosine: 1, leastCosine: 1 }),
    ],
    [
      'this model',
      byteSize(report.bytes),
      fixed(report.bitsPerWeight, 2),
      measured ? fixed(report.perplexity, 3) : '',
      isNumber(report.kl) ? `${fixed(report.kl, 4)}${error}` : '',
      isNumber(report.top1) ? percent(report.top1) : '',
      ...cosines(report.embeddings),
    ],
    ...(report.baselines ?? []).map(({ name, bytes, bitsPerWeight, perplexity, kl, embeddings }) => [
      plain(shortened(name, 80)),
      byteSize(bytes),
      isNumber(bitsPerWeight) ? fixed(bitsPerWeight, 2) : '',
      isNumber(perplexity) ? fixed(perplexity, 3) : '',
      isNumber(kl) ? fixed(kl, 4) : '',
      '',
      ...cosines(embeddings),
    ]),
  ]
  // Columns without a number in them are left out.
  const columns = rows[0]!
    .map((_, i) => i)
    .filter((i) => i === 0 || rows.slice(1).some((row) => row[i] !== ''))
  const lines = rows.map((row) => `| ${columns.map((i) => row[i]).join(' | ')} |`)
  const rule = `| ${columns.map((i) => (i === 0 ? '---' : '---:')).join(' | ')} |`
  const protocol = report.embeddings
    ? `Vectors of ${fixed(report.embeddings.texts, 0)} passages, beside those of the source.`
    : report.protocol === undefined
      ? 'The result was not evaluated.'
      : `Measured on ${fixed(report.tokens, 0)} predictions, ${plain(report.protocol)}; perplexities compare at the same text and protocol only.`
  return `## Results\n\n${[lines[0], rule, ...lines.slice(1)].join('\n')}\n\n${protocol}`
}

const cosines = (vectors: Pick<EmbeddingMetrics, 'meanCosine' | 'leastCosine'> | undefined): string[] =>
  vectors ? [fixed(vectors.meanCosine, 5), fixed(vectors.leastCosine, 5)] : ['', '']

/** Tokens a second before and after, and what brings no speed. */
function speed({ speed }: CompressionReport): string[] {
  if (!speed) return []
  const rows = speedRows(speed).map((row) => `| ${row.map(plain).join(' | ')} |`)
  return [
    [
      '## Speed',
      ...speedRemarks(speed).map(plain),
      ['|  | source | this model | this model / source |', '| --- | ---: | ---: | ---: |', ...rows].join(
        '\n',
      ),
      plain(methodText(speed)),
    ].join('\n\n'),
  ]
}

function loading(report: CompressionReport, { family }: CardSource): string[] {
  const lines = loadingLines(report, family)
  return lines.length > 0 ? [`## Use\n\n${lines.join('\n')}`] : []
}

function command({ command, version }: CompressionReport): string[] {
  if (!command) return []
  const line = visibleLine(shellLine(shareable(command)))
  const ticks = [...line.matchAll(/`+/g)].reduce((most, [run]) => Math.max(most, run.length), 2)
  const fence = '`'.repeat(ticks + 1)
  return [`## Command\n\nPare ${plain(version)}:\n\n${fence}sh\n${line}\n${fence}`]
}

function calibration({ calibration }: CompressionReport): string[] {
  if (!calibration) return []
  const { samples, length, files, seed, tokens, sha256 } = calibration
  return [
    `## Calibration data\n\n${samples} samples of ${length} tokens (${tokens} in all) of ${files.map(plain).join(', ')}, seed ${seed}. SHA-256 of the text: ${plain(sha256)}.`,
  ]
}

function verification({ verification }: CompressionReport): string[] {
  if (!verification) return []
  const lines = verification.checks.map(
    (check) => `- ${plain(check.name)}: ${plain(checkWord(check))}, ${plain(shortened(check.text, 300))}`,
  )
  return [
    `## Verification\n\nPare opened the files again and compared them with what was decided, and with the source.\n\n${lines.join('\n')}`,
  ]
}

/** Text that is no markup inside a line of Markdown or a cell of a table. */
export const plain = (text: string): string =>
  visibleLine(text)
    .replace(/[\\`*{}[\]#|~$]|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu, '\\$&')
    // No reader may take these for a tag, and addresses with a scheme, with www. or of mail would become links.
    .replace(/[<>&@]|:(?=\/\/)/g, (c) => `&#${c.charCodeAt(0)};`)
    .replace(/(www)\./gi, '$1&#46;')
    // A line that begins like an item of a list.
    .replace(/^(\d*)([-+.)])/, (_, digits, sign) => `${digits}\\${sign}`)

/** A double-quoted scalar; every JSON string without control characters is one. */
const yaml = (text: string): string =>
  /^[a-z][a-z0-9-]*$/.test(text) && !words.has(text)
    ? text
    : JSON.stringify(visibleLine(text)).replaceAll('<', '\\u003c')

/** Plain words that YAML readers take for something else. */
const words = new Set(['true', 'false', 'null', 'yes', 'no', 'on', 'off', 'y', 'n'])
