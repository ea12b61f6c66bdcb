#!/usr/bin/env node
// llama.cpp's opinion of a GGUF file: perplexity of token windows, token ids of texts, speed. Prints JSON.
//
//   node perplexity.js FILE.gguf WINDOWS.json [--tokenize TEXT.txt]... [--speed] [--threads N]
//
// WINDOWS.json holds a list of token windows (`oracle/evaluate.py --dump` writes it); `-` scores none, and `--speed`
// times the first. Every window starts from an empty context without BOS, and its first token is not predicted.
// The perplexity is exp of the average over windows of their mean negative log-likelihood.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { getLlama } from 'node-llama-cpp'

// Each position brings a probability for every token of the vocabulary as a Map: few are kept at once.
const POSITIONS_AT_ONCE = 32
// The whole distribution, untouched: no temperature, no cut.
const PLAIN = { temperature: 1, topK: 0, topP: 1, minP: 0, seed: 0 }
const SMALLEST = 2 ** -149 // float32's; a probability below it arrives as 0

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    tokenize: { type: 'string', multiple: true, default: [] },
    speed: { type: 'boolean', default: false },
    threads: { type: 'string', default: '2' },
  },
})
const [file, windowsFile] = positionals
if (file === undefined || windowsFile === undefined || (values.speed && windowsFile === '-')) {
  process.stderr.write(
    'usage: perplexity.js FILE.gguf WINDOWS.json|- [--tokenize TEXT]... [--speed] [--threads N]\n',
  )
  process.exit(2)
}

const windows = windowsFile === '-' ? [] : JSON.parse(await readFile(windowsFile, 'utf8'))
const threads = Number(values.threads)
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  maxThreads: threads,
  logLevel: 'error',
})
const model = await llama.loadModel({ modelPath: file, gpuLayers: 0 })
const contextSize = Math.max(1024, ...windows.map((window) => window.length))
const context = await model.createContext({ contextSize, batchSize: 512, threads })
const sequence = context.getSequence()

const result = { file, threads, llamaCpp: llama.llamaCppRelease.release }
if (windows.length > 0) Object.assign(result, await perplexity(windows))
if (values.tokenize.length > 0) result.tokens = await tokenized(values.tokenize)
if (values.speed) result.speed = await speed(windows[0])
process.stdout.write(`${JSON.stringify(result, null, 2)}\n`)
await llama.dispose()

async function perplexity(windows) {
  const scores = []
  for (const window of windows) {
    scores.push(await score(window))
    process.stderr.write(`window ${scores.length}/${windows.length}: ${scores.at(-1).nll}\n`)
  }
  const mean = scores.reduce((sum, each) => sum + each.nll, 0) / scores.length
  return {
    windows: scores.length,
    perplexity: Math.exp(mean),
    nll: mean,
    windowNll: scores.map((each) => each.nll),
    underflows: scores.reduce((sum, each) => sum + each.underflows, 0),
  }
}

/** Mean negative log-likelihood in nats of tokens 1.. of a window. */
async function score(window) {
  await sequence.clearHistory()
  let sum = 0
  let underflows = 0
  for (let start = 0; start < window.length - 1; start += POSITIONS_AT_ONCE) {
    const end = Math.min(start + POSITIONS_AT_ONCE, window.length - 1)
    const items = window
      .slice(start, end)
      .map((token) => [token, { generateNext: { probabilities: true, options: PLAIN } }])
    const outputs = await sequence.controlledEvaluate(items)
    for (let at = start; at < end; at++) {
      const probability = outputs[at - start]?.next.probabilities?.get(window[at + 1])
      if (probability === undefined)
        throw new Error(`position ${at}: token ${window[at + 1]} has no probability`)
      if (probability === 0) underflows++
      sum -= Math.log(Math.max(probability, SMALLEST))
    }
  }
  return { nll: sum / (window.length - 1), underflows }
}

/** Token ids of each text file, without BOS and without parsing control tokens. */
async function tokenized(files) {
  const ids = {}
  for (const name of files) ids[name] = Array.from(model.tokenize(await readFile(name, 'utf8'), false))
  return ids
}

/** Tokens a second: one pass over a prompt, then 64 greedy tokens one by one; the best of three runs. */
async function speed(prompt) {
  const best = { prompt: prompt.length, prefill: 0, decode: 0 }
  for (let run = 0; run < 3; run++) {
    await sequence.clearHistory()
    let started = performance.now()
    await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(0, -1))
    best.prefill = Math.max(best.prefill, (1000 * (prompt.length - 1)) / (performance.now() - started))
    let count = -1 // the first token pays for the prompt's last one
    for await (const _ of sequence.evaluate(prompt.slice(-1), { temperature: 0, yieldEogToken: true })) {
      if (count === -1) started = performance.now()
      if (++count === 64) break
    }
    best.decode = Math.max(best.decode, (1000 * count) / (performance.now() - started))
  }
  return best
}
