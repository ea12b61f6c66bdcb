#!/usr/bin/env node
// Pare's vectors of texts: embed_texts.js MODEL TEXTS.json prints {"ids": [[...]], "vectors": [[...]]}. Pare must be built.
import { readFileSync } from 'node:fs'
import { loadModel, scope, sentenceEncoder } from '../../dist/index.js'

const [source, file] = process.argv.slice(2)
const texts = JSON.parse(readFileSync(file, 'utf8'))
const model = await loadModel(source)
scope(() => {
  const encoder = sentenceEncoder(model)
  const ids = texts.map((text) => [...encoder.encode(text)])
  const vectors = encoder.embed(texts).map((vector) => [...vector])
  process.stdout.write(`${JSON.stringify({ ids, vectors })}\n`)
})
model.close()
