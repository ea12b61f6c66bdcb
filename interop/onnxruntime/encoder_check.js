#!/usr/bin/env node
// Vectors of MiniLM's exports in onnxruntime, against the floats in Pare: encoder_check.js ASSETS WORK
//
// The mean cosine on 48 passages of 60 words of the speeches must be at least 0.9994 at 8 bits, rounded to nearest, and
// 0.99 at 4 bits with blocks of 32, by GPTQ on other parts of the speeches. Pare must be built.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readPassages } from '../../dist/calibrate/text_passages.js'
import { wordsApart } from '../../dist/experiments/encoder_onnx_measure.js'
import { compareVectors } from '../../dist/metrics/embeddings.js'
import { embedTexts, sentenceEncoder } from '../../dist/models/bert/sentence_encoder.js'
import { openModel } from '../../dist/models/load_model.js'
import { compress } from '../../dist/run/compress.js'
import { encoderStates } from './decoder_session.js'
import { check, finish } from './write_export.js'

const [assets, work] = process.argv.slice(2)
if (!work) throw new Error('usage: encoder_check.js ASSETS WORK')
const folder = join(work, 'vectors')
mkdirSync(folder, { recursive: true })
const [text, others] = [join(folder, 'speeches.txt'), join(folder, 'others.txt')]
const count = 48
const speeches = join(assets, 'data/text-sotu/data')
const words = readdirSync(speeches)
  .filter((name) => name.endsWith('.txt'))
  .sort()
  .flatMap((name) => readFileSync(join(speeches, name), 'utf8').split(/\s+/u))
  .filter((word) => word !== '')
writeFileSync(text, words.join(' '))
writeFileSync(others, wordsApart(words, count).join(' '))

const source = join(assets, 'models/minilm')
const open = openModel(source)
const passages = readPassages([text], { tokenizer: open.tokenizer() }, { count }).texts
const encoder = sentenceEncoder(open)
const ids = passages.map((passage) => [...encoder.encode(passage)])
encoder.close()
const wanted = embedTexts(open, passages)
open.close()

/** The mean of the last states of each text, which is its vector but for the length. */
async function vectors(file) {
  const states = await encoderStates(file, ids)
  const width = states.length / ids.flat().length
  let at = 0
  return ids.map(({ length }) => {
    const mean = new Float32Array(width)
    for (let i = 0; i < length * width; i++) mean[i % width] += states[at++] / length
    return mean
  })
}

const common = { source, target: 'onnx', groupSize: 32, symmetric: false, evaluate: false, probe: false }
for (const [title, least, options] of [
  ['8 bits, rtn', 0.9994, { bits: 8, method: 'rtn' }],
  ['4 bits, gptq', 0.99, { bits: 4, method: 'gptq', calibration: [others] }],
]) {
  const output = join(folder, 'model')
  await compress({ ...common, ...options, output })
  const { meanCosine, leastCosine } = compareVectors(await vectors(join(output, 'model.onnx')), wanted)
  const figures = `${meanCosine.toFixed(5)}, least ${leastCosine.toFixed(5)}, ${least} needed`
  check(
    `MiniLM ${title}: mean cosine of ${passages.length} passages`,
    passages.length === count && meanCosine >= least,
    figures,
  )
  rmSync(output, { recursive: true })
}
rmSync(folder, { recursive: true })
finish()
