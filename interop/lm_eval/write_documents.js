#!/usr/bin/env node
// write_documents.js ASSETS [--check]   continuations.jsonl and passages.jsonl, from addresses that pare-4m was not trained on.
//
// A document of the first is the beginning of a sentence, its true end, and the ends of three sentences of other addresses.
// ASSETS is the folder that assets.sh fills; the addresses are under CC0 1.0. With --check the files are compared.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const folder = join(process.argv[2], 'data/text-sotu/data')
/** As the training of pare-4m held them out: every tenth. */
const addresses = readdirSync(folder)
  .sort()
  .filter((_, i) => i % 10 === 9)
  .map((name) => readFileSync(join(folder, name), 'utf8').replace(/\s+/g, ' ').trim())

/** Plain sentences of an address that follow each other, the first of them of 12 to 30 words, the second of 16 to 26. */
function pairOf(address, from) {
  const sentences = address.split(/(?<=[a-z]{3}\.) (?=[A-Z])/)
  const fits = (sentence, least, most) => {
    const words = sentence.split(' ').length
    return words >= least && words <= most && /^[A-Z][A-Za-z,;' -]+\.$/.test(sentence)
  }
  for (let i = Math.floor(sentences.length * from); i + 1 < sentences.length; i++)
    if (fits(sentences[i], 12, 30) && fits(sentences[i + 1], 16, 26)) return [sentences[i], sentences[i + 1]]
  throw new Error(`no two plain sentences behind ${from} of an address that begins: ${address.slice(0, 60)}`)
}

const texts = [0.25, 0.6].flatMap((from) => addresses.slice(0, 20).map((address) => pairOf(address, from)))
const halves = texts.map(([before, sentence], i) => {
  const words = sentence.split(' ')
  const at = words.length - 5 - (i % 6)
  return { context: `${before} ${words.slice(0, at).join(' ')}`, ending: words.slice(at).join(' ') }
})
const continuations = halves.map(({ context, ending }, i) => {
  const choices = [7, 13, 29].map((step) => halves[(i + step) % halves.length].ending)
  const label = i % 4
  choices.splice(label, 0, ending)
  return { context, choices, label }
})
/** What is easily cut at a wrong place: no context, blanks and lines at its end, characters of several bytes, one token. */
const edges = [
  { context: '', choices: ['I have the honor to submit this report.', 'Moby Dick'], label: 0 },
  { context: 'The state of the ', choices: ['Union', '  union'], label: 0 },
  { context: 'The Congress of the United', choices: ['States', 'whale'], label: 0 },
  { context: 'Fellow-citizens:\n\n', choices: ['It is my duty.', '\nNo.'], label: 0 },
  { context: 'A naïve café, 東京 and 🐋 are', choices: ['über Bord 🐳', 'words — “each” of them'], label: 1 },
]

const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
function write(name, rows) {
  const file = new URL(name, import.meta.url)
  if (process.argv[3] !== '--check') writeFileSync(file, lines(rows))
  else if (readFileSync(file, 'utf8') !== lines(rows))
    throw new Error(`${name}: is not what this program writes; run it without --check`)
}
write('continuations.jsonl', [...continuations, ...edges])
/** The longer ones take several windows of 256 tokens. */
const lengths = [400, 600, 1000, 1500, 2000]
write(
  'passages.jsonl',
  lengths.map((length, i) => ({ text: addresses[4 * i].slice(0, length).replace(/ \S*$/, '') })),
)
