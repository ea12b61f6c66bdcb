/**
 * Held-out bits a byte of the model that comes with Pare, beside gzip, xz and a 5-gram model.
 *
 * `--only 5-gram` leaves one code. The quick version takes the end of the novel, and the codes that
 * need no training text.
 */
import { join } from 'node:path'
import { packTokens } from '#src/data/token_windows.ts'
import { openLanguageModel } from '#src/models/load_model.ts'
import { nearestField } from '#src/nn/nearest_names.ts'
import { OptionError, printable } from '#src/tensor/errors.ts'
import { gzipBits, modelBits, ngramBits, xzBits } from './bits_per_byte_measure.ts'
import {
  type BitsJob,
  type BitsRun,
  bitsFigure,
  bitsPage,
  bitsTable,
  claims,
  codes,
  perByte,
} from './bits_per_byte_page.ts'
import type { Context, Experiment, JobOptions } from './experiment.ts'
import { ngramModel } from './kneser_ney.ts'
import { hashOf } from './machine.ts'
import { byEra, bytesOf, corpus } from './models/corpus.ts'
import { modelsFolder } from './models/zoo.ts'

const folder = join(modelsFolder, 'pare-4m')

export const bitsPerByte: Experiment<BitsJob, BitsRun> = {
  name: 'bits_per_byte',
  title: 'Bits a byte of held-out text',
  sources: [
    'experiments/bits_per_byte_measure.ts',
    'experiments/kneser_ney.ts',
    'experiments/models/corpus.ts',
    'src/data/assets/language.ts',
  ],
  systems: [],
  assets: () => ['text-sotu', 'text-moby-dick'],
  jobs,
  describe: ({ code }) => code,
  measure,
  outcome: (run) => `${perByte(run).toFixed(3)} bits a byte, ${run.seconds.toFixed(0)} s`,
  summary: (runs) => Object.fromEntries(runs.map((run) => [run.code, perByte(run)])),
  claims: ({ runs }) => claims(runs),
  page: bitsPage,
  part: ({ runs }) => bitsTable(runs),
  figures: ({ runs }) => new Map([['bits_per_byte.svg', bitsFigure(runs)]]),
  failures({ runs }) {
    const [model, xz] = ['pare-4m', 'xz -9e'].map((code) => runs.find((run) => run.code === code))
    if (!model || !xz || perByte(model) < 0.9 * perByte(xz)) return []
    return [
      `the model must take 10% fewer bits than xz, it has ${perByte(model).toFixed(3)} against ${perByte(xz).toFixed(3)}`,
    ]
  },
}

function jobs({ quick, seeds, only }: JobOptions): BitsJob[] {
  for (const word of only ?? [])
    if (!(codes as readonly string[]).includes(word))
      throw new OptionError(
        `--only ${printable(word)}: the nearest is ${nearestField(word, codes)}; needed is one of ${codes.join(', ')}`,
      )
  // The first seed only: nothing here draws a number.
  return codes
    .filter((code) => (only ? only.includes(code) : !quick || quickCodes.includes(code)))
    .map((code) => ({
      code,
      seed: seeds[0]!,
      text: quick ? 'Moby Dick' : 'all',
      tokens: code === '5-gram' || code === 'pare-4m' ? hashOfModel('tokenizer.json') : '',
      weights: code === 'pare-4m' ? hashOfModel('model.safetensors') : '',
    }))
}

/** What needs no look at the training text. */
const quickCodes: readonly string[] = ['gzip -9', 'xz -9e', 'pare-4m']

/** What decides beside the sources. */
export const hashOfModel = (file: string): string => hashOf(folder, [file]).slice(0, 16)

async function measure(
  { code, text }: BitsJob,
  { assets }: Context,
): Promise<Omit<BitsRun, keyof BitsJob | 'sources' | 'commit' | 'machine'>> {
  const started = performance.now()
  const { train, heldOut } = corpus({ assets: assets! })
  const eras = byEra(heldOut).filter(({ era }) => text === 'all' || era === text)
  const found = await bitsOf(code, {
    train: train.map(({ text }) => text),
    heldOut: eras.map(({ documents }) => documents.map(({ text }) => text)),
  })
  return {
    ...found,
    eras: eras.map(({ era, documents }) => ({ era, documents: documents.length, bytes: bytesOf(documents) })),
    training: { documents: train.length, bytes: bytesOf(train) },
    seconds: (performance.now() - started) / 1000,
  }
}

interface Texts {
  train: readonly string[]
  /** By era. */
  heldOut: readonly (readonly string[])[]
}

async function bitsOf(
  code: BitsJob['code'],
  { train, heldOut }: Texts,
): Promise<Pick<BitsRun, 'bits' | 'bitsTotal' | 'predictions'>> {
  const compressed = (of: (text: string) => number) => {
    const texts = heldOut.map((documents) => documents.join(''))
    const bits = texts.map(of)
    return { bits, bitsTotal: texts.length === 1 ? bits[0]! : of(texts.join('')) }
  }
  if (code === 'gzip -9') return compressed(gzipBits)
  if (code === 'xz -9e') return compressed(xzBits)
  if (code === 'xz -9e after the training text') {
    const before = train.join('')
    const alone = xzBits(before)
    return compressed((text) => xzBits(before + text) - alone)
  }
  const { model, tokenizer, close } = openLanguageModel(folder)
  try {
    const own = tokenizer()
    const endOfText = own.eosIds[0]!
    const eras = heldOut.map((documents) => documents.map((text) => packTokens([text], own)))
    const { context } = model.config
    const counts = () => ngramModel(packTokens(train, own), { order: 5, vocabulary: own.vocabularySize })
    const ngrams = code === '5-gram' ? counts() : undefined
    const bits: number[] = []
    for (const documents of eras)
      bits.push(
        ngrams
          ? ngramBits(ngrams, documents, endOfText)
          : await modelBits({ model, documents, endOfText, context }),
      )
    return {
      bits,
      bitsTotal: bits.reduce((sum, value) => sum + value, 0),
      predictions: eras.flat().reduce((sum, { length }) => sum + length, 0),
    }
  } finally {
    close()
  }
}
