#!/usr/bin/env node
// Pare's token ids of texts, without BOS: token_ids.js MODEL TEXT.txt... prints a list of ids a text as JSON.
import { readFileSync } from 'node:fs'
import { loadModel } from '../dist/models/load_model.js'

const [model, ...texts] = process.argv.slice(2)
const source = await loadModel(model)
const tokenizer = source.tokenizer()
const ids = texts.map((file) =>
  Array.from(tokenizer.encode(readFileSync(file, 'utf8'), { addSpecialTokens: false })),
)
process.stdout.write(`${JSON.stringify(ids)}\n`)
source.close()
