/**
 * Held-out bits a byte of the model that comes with Pare, beside gzip, xz and a 5-gram model.
 *
 *   npm run experiment -- bits_per_byte [--assets DIR] [--model FOLDER] [--output DIR]
 *
 * Every code is added to bits_per_byte.runs.jsonl as soon as it is done; the same command goes on where it stopped. Then
 * bits_per_byte.json, .md and .svg are written. `--model` takes another model with the tokens of its own.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { instructionSet } from 'pare'
import { packTokens } from '#src/data/token_windows.ts'
import { openLanguageModel } from '#src/models/load_model.ts'
import { defaultAssets } from '#src/run/training/image_data.ts'
import { gzipBits, modelBits, ngramBits, xzBits } from './bits_per_byte_measure.ts'
import { type BitsRecord, bitsFigure, bitsPage, type CodeRow, sources } from './bits_per_byte_page.ts'
import { ngramModel } from './kneser_ney.ts'
import { currentCommit, describeMachine, hashOf, machineLine } from './machine.ts'
import { byEra, bytesOf, corpus } from './models/corpus.ts'
import { modelsFolder, root } from './models/zoo.ts'

const { values: flags } = parseArgs({
  options: { assets: { type: 'string' }, model: { type: 'string' }, output: { type: 'string' } },
})
const say = (text: string) => process.stderr.write(`${text}\n`)

const { train, heldOut } = corpus({ assets: flags.assets ?? defaultAssets() })
const eras = byEra(heldOut)
const { model, tokenizer, close } = openLanguageModel(flags.model ?? join(modelsFolder, 'pare-4m'))
const own = tokenizer()
const endOfText = own.eosIds[0]!
const tokensOf = (texts: readonly string[]) => texts.map((text) => packTokens([text], own))
const tokens = eras.map(({ documents }) => tokensOf(documents.map(({ text }) => text)))
const textOf = (documents: readonly { text: string }[]) => documents.map(({ text }) => text).join('')
const texts = eras.map(({ documents }) => textOf(documents))

/** For codes whose bits add up over documents. */
async function added(bitsOf: (documents: readonly Uint32Array[]) => number | Promise<number>) {
  const bits: number[] = []
  for (const documents of tokens) bits.push(await bitsOf(documents))
  return { bits, bitsTotal: bits.reduce((sum, value) => sum + value, 0) }
}
const compressed = (bitsOf: (text: string) => number) => ({
  bits: texts.map(bitsOf),
  bitsTotal: bitsOf(texts.join('')),
})

const output = flags.output ?? join(root, 'docs', 'results')
mkdirSync(output, { recursive: true })
const journal = join(output, 'bits_per_byte.runs.jsonl')
const done: (CodeRow & { key: string })[] = existsSync(journal)
  ? readFileSync(journal, 'utf8')
      .split('\n')
      .flatMap((line) => (line.endsWith('}') ? [JSON.parse(line)] : []))
  : []
const folder = flags.model ?? join(modelsFolder, 'pare-4m')
/** What decides a row: the codes, the tokens, and for the model its weights. */
const keyOf = (...files: string[]) =>
  `${hashOf(
    root,
    sources.filter((file) => file.endsWith('.ts')),
  )}-${hashOf(folder, files)}`

const rows: CodeRow[] = []
type Bits = Pick<CodeRow, 'bits' | 'bitsTotal'>
async function add(code: string, learned: boolean, key: string, measure: () => Bits | Promise<Bits>) {
  const known = done.find((row) => row.code === code && row.key === key)
  const { bits, bitsTotal } = known ?? (await measure())
  rows.push({ code, learned, bits, bitsTotal })
  if (!known) appendFileSync(journal, `${JSON.stringify({ code, key, learned, bits, bitsTotal })}\n`)
  say(`${code}: ${(bitsTotal / bytesOf(heldOut)).toFixed(3)} bits a byte`)
}

const withTokens = keyOf('tokenizer.json')
await add('gzip -9', false, withTokens, () => compressed(gzipBits))
await add('xz -9e', false, withTokens, () => compressed(xzBits))
await add('xz -9e after the training text', true, withTokens, () => {
  const before = textOf(train)
  const alone = xzBits(before)
  return compressed((text) => xzBits(before + text) - alone)
})
const trainingTokens = packTokens(
  train.map(({ text }) => text),
  own,
)
await add('5-gram', true, withTokens, () => {
  const counted = ngramModel(trainingTokens, { order: 5, vocabulary: own.vocabularySize })
  return added((documents) => ngramBits(counted, documents, endOfText))
})
const { context } = model.config
await add('pare-4m', true, keyOf('tokenizer.json', 'model.safetensors'), () =>
  added((documents) => modelBits({ model, documents, endOfText, context })),
)
close()

const count = (documents: readonly Uint32Array[]) => documents.reduce((sum, { length }) => sum + length, 0)
const record: BitsRecord = {
  experiment: 'bits_per_byte',
  commit: currentCommit(root),
  command: 'npm run experiment -- bits_per_byte --assets DIR',
  machine: machineLine(describeMachine(instructionSet())),
  sources: flags.model ? '' : hashOf(root, sources),
  eras: eras.map(({ era, documents }, i) => ({
    era,
    documents: documents.length,
    bytes: bytesOf(documents),
    tokens: count(tokens[i]!),
  })),
  training: { documents: train.length, bytes: bytesOf(train), tokens: trainingTokens.length },
  rows,
}
const write = (ending: string, text: string) => writeFileSync(join(output, `bits_per_byte.${ending}`), text)
write('json', `${JSON.stringify(record, null, 2)}\n`)
write('md', bitsPage(record, false))
write('svg', await bitsFigure(record))
say(`written  ${output}`)
