/**
 * Tokens a second of a GGUF model: reading a prompt of 512 tokens and writing 64 more, one text at a time, by Pare with its
 * weights in several forms and by llama.cpp, in turns. Prints a table: medians over the rounds, with the least and the most.
 * Run it with nothing else running:
 *
 *   npm ci --prefix interop/llama.cpp
 *   node bench/generation_speed.js MODEL.gguf held-out.json [--rounds 5] [--threads 2] [--ways f32,packed-f32,packed-int8,llama.cpp]
 *   node bench/generation_speed.js MODEL [--prompt 512] [--ways packed-int8]
 *
 * `held-out.json` holds windows of 512 token ids, which `bench/peers/README.md` makes; llama.cpp needs it, Pare takes the
 * beginning of its own evaluation text without it. Both programs take the most likely token
 * always. Pare is measured through `createTextGenerator`, as `pare chat` and `pare serve` use it, llama.cpp through
 * node-llama-cpp, with the same number of threads. Every reading is printed to stderr as it comes.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from '../.ci/arguments.js'
import { defaultEvaluationText } from '../dist/calibrate/text_samples.js'
import { createTextGenerator } from '../dist/generate/text_generator.js'
import { openLanguageModel } from '../dist/models/load_model.js'
import { instructionSet, setThreads } from '../dist/tensor/index.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '2' },
    ways: { type: 'string', default: 'f32,packed-f32,packed-int8,llama.cpp' },
    prompt: { type: 'string', default: '512' },
    own: { type: 'string' },
  },
})
const [model, windows] = positionals
const NEW_TOKENS = 64

/** Weights of Pare. */
const forms = {
  f32: {},
  bf16: { dtype: 'bf16' },
  'packed-f32': { packed: 'f32' },
  'packed-int8': { packed: 'int8' },
}

/** The best of three texts, as the script of llama.cpp takes it. */
async function ownSpeed(way) {
  setThreads(Number(flags.threads))
  const open = openLanguageModel(model)
  const ids = windows
    ? JSON.parse(readFileSync(windows, 'utf8'))[0]
    : open.tokenizer().encode(readFileSync(defaultEvaluationText(), 'utf8').slice(0, 20_000))
  const prompt = Uint32Array.from(ids).subarray(0, Number(flags.prompt))
  const generator = createTextGenerator(open, { slots: 1, pieceTokens: prompt.length, ...forms[way] })
  const best = { prefill: 0, decode: 0 }
  for (let text = 0; text < 3; text++) {
    const started = performance.now()
    let read = started
    const request = { prompt, maxTokens: NEW_TOKENS + 1, temperature: 0, ignoreEnd: true }
    for await (const { kind } of generator.generate(request)) if (kind === 'prompt') read = performance.now()
    best.prefill = Math.max(best.prefill, (1000 * prompt.length) / (read - started))
    best.decode = Math.max(best.decode, (1000 * NEW_TOKENS) / (performance.now() - read))
  }
  await generator.close()
  open.close()
  return { ...best, peakBytes: process.resourceUsage().maxRSS * 1024 }
}

function json(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${status}:\n${stderr}`)
  return JSON.parse(stdout.slice(stdout.indexOf('{')))
}

function reading(way) {
  const own = fileURLToPath(import.meta.url)
  const given = [model, ...(windows ? [windows] : [])]
  const settings = ['--threads', flags.threads, '--prompt', flags.prompt]
  if (way !== 'llama.cpp') return json([own, ...given, ...settings, '--own', way])
  const script = fileURLToPath(new URL('../interop/llama.cpp/perplexity.js', import.meta.url))
  return json([script, model, windows, '--speed', '--threads', flags.threads]).speed
}

function spread(values, digits) {
  const sorted = values.toSorted((a, b) => a - b)
  const text = [sorted[Math.floor(sorted.length / 2)], sorted[0], sorted.at(-1)].map((x) => x.toFixed(digits))
  return `${text[0]} (${text[1]} to ${text[2]})`
}

if (flags.own) process.stdout.write(`${JSON.stringify(await ownSpeed(flags.own))}\n`)
else {
  const ways = flags.ways.split(',')
  const found = new Map(ways.map((way) => [way, []]))
  for (let round = 0; round < Number(flags.rounds); round++)
    for (const way of ways) {
      const one = reading(way)
      found.get(way).push(one)
      process.stderr.write(
        `round ${round + 1} ${way}: ${one.prefill.toFixed(0)} read, ${one.decode.toFixed(1)} written\n`,
      )
    }
  const gigabytes = (totalmem() / 2 ** 30).toFixed(0)
  process.stdout.write(
    `${cpus()[0].model}, ${cpus().length} cores, ${gigabytes} GiB, ${instructionSet()}, ${flags.threads} threads, Node ${process.version}\n\n`,
  )
  process.stdout.write(
    '| weights | read, tokens/s | written, tokens/s | peak MB |\n| --- | --- | --- | --- |\n',
  )
  for (const [way, all] of found) {
    const peak = all[0].peakBytes ? (Math.max(...all.map(({ peakBytes }) => peakBytes)) / 1e6).toFixed(0) : ''
    const [read, written] = ['prefill', 'decode'].map((key) => all.map((one) => one[key]))
    process.stdout.write(`| ${way} | ${spread(read, 0)} | ${spread(written, 1)} | ${peak} |\n`)
  }
}
