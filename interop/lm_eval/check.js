#!/usr/bin/env node
// lm_eval over `pare serve`, against Pare's own log-likelihoods: check.js PYTHON WORK [FOLDER...]
//
// The command is that of docs/serve.md. Models are pare-4m, a result of `pare compress` on it, and the first documents on
// each FOLDER. PYTHON has lm_eval. One line a check; the last is the counts.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { check, finish } from '../onnxruntime/write_export.js'
import { root, runHarness, serveModel } from './harness.js'
import { Reference } from './reference.js'

const [python, work, ...folders] = process.argv.slice(2).map((path) => resolve(path))
/** Of log-likelihoods, in nats: sums of f32 in another order. */
const most = 1e-4
const [choiceTask, passageTask] = ['pare_continuations', 'pare_passages']
const asPage = { name: 'the command of the page' }
const source = 'experiments/models/pare-4m'
/** Documents of a file beside this one. */
const countOf = (name) =>
  readFileSync(new URL(name, import.meta.url), 'utf8')
    .trimEnd()
    .split('\n').length
mkdirSync(work, { recursive: true })

function pare(...words) {
  const done = spawnSync(process.execPath, [join(root, 'bin/pare.js'), ...words], {
    cwd: root,
    encoding: 'utf8',
  })
  if (done.status !== 0) throw new Error(`pare ${words.join(' ')} ended with ${done.status}:\n${done.stderr}`)
  return done.stdout
}

/** Holds what each way of asking gave against one model, and each text against Pare once. */
async function compareModel(model, ways) {
  const server = await serveModel(model)
  let reference
  try {
    reference = new Reference(resolve(root, model))
    const fields = {
      model: server.name,
      base_url: `${server.url}/v1/completions`,
      tokenizer: model,
      max_length: server.context,
    }
    for (const way of ways) {
      const { name, fields: other = {}, tasks, more, documents } = way
      const title = `lm_eval on ${basename(model)}, ${name}`
      const run = runHarness({ python, work, title, fields: { ...fields, ...other }, tasks, more })
      check(`${title}: ends well`, run.status === 0, run.status === 0 ? '' : run.printed.slice(-2000))
      if (run.status !== 0) continue
      check(`${title}: nothing is truncated`, !/truncat|exceed/i.test(run.printed))
      compareChoices(title, run, reference, documents ?? countOf('continuations.jsonl'))
      if (documents !== undefined) continue
      await comparePassages(title, run, reference, server.context)
      if (way === asPage) comparePerplexity(title, model, run, reference)
    }
    if (model === source) refuseLong(fields)
  } finally {
    reference?.close()
    await server.stop()
  }
}

const expected = new Map()
/** What Pare computes of a text, once for a model. */
function remembered(reference, key, compute) {
  if (!expected.has(reference)) expected.set(reference, new Map())
  const known = expected.get(reference)
  if (!known.has(key)) known.set(key, compute())
  return known.get(key)
}

function compareChoices(title, { samples, results }, reference, documents) {
  const rows = samples[choiceTask]
  let [farthest, choices, greedy, right, rightOfLength] = [0, 0, 0, 0, 0]
  for (const { arguments: asked, resps, doc } of rows) {
    const own = Object.values(asked).map(({ arg_0: context, arg_1: text }) =>
      remembered(reference, `${context}\0${text}`, () => reference.continuation(context, text)),
    )
    for (const [i, { logprob, greedy: likeliest }] of own.entries()) {
      const [found, isGreedy] = resps[i][0]
      const off = Math.abs(Number(found) - logprob)
      // NaN stays.
      farthest = Math.max(farthest, off)
      if (isGreedy === (likeliest ? 'True' : 'False')) greedy++
      choices++
    }
    const best = (scores) => scores.indexOf(Math.max(...scores))
    if (best(own.map(({ logprob }) => logprob)) === doc.label) right++
    // Per character, which Python counts as code points.
    if (best(own.map(({ logprob }, i) => logprob / [...doc.choices[i]].length)) === doc.label) rightOfLength++
  }
  const found = results[choiceTask]
  check(`${title}: all documents`, rows.length === documents, `${rows.length}`)
  check(
    `${title}: log-likelihoods of choices`,
    choices > 0 && farthest <= most,
    `${choices} choices, at most ${farthest.toExponential(1)} nats apart, ${most} allowed`,
  )
  check(`${title}: which are the most likely texts`, greedy === choices, `${greedy} of ${choices}`)
  const same = (name, count) => {
    const share = found[`${name},none`]
    check(
      `${title}: ${name}`,
      Math.abs(share - count / rows.length) < 1e-9,
      `${share} and ${count}/${rows.length}`,
    )
  }
  same('acc', right)
  same('acc_norm', rightOfLength)
}

async function comparePassages(title, { samples, results }, reference, context) {
  const rows = samples[passageTask]
  let [farthest, tokens, sum, bytes] = [0, 0, 0, 0]
  for (const { doc, resps } of rows) {
    const own = await remembered(reference, doc.text, () => reference.passage(doc.text, context))
    const off = Math.abs(Number(resps[0][0]) - own.logprob)
    farthest = Math.max(farthest, off)
    tokens += own.tokens - 1
    sum += own.logprob
    bytes += Buffer.byteLength(doc.text)
  }
  check(
    `${title}: log-likelihoods of passages`,
    rows.length === countOf('passages.jsonl') && farthest <= most,
    `${rows.length} of ${tokens} tokens together, at most ${farthest.toExponential(1)} nats apart, ${most} allowed`,
  )
  const found = results[passageTask]['bits_per_byte,none']
  const own = -sum / bytes / Math.LN2
  check(`${title}: bits a byte`, Math.abs(found - own) < 1e-6, `${found} and ${own}`)
}

/** One window of `pare eval` holds the tokens of the first passage, behind the token that begins texts. */
function comparePerplexity(title, model, { samples }, reference) {
  const { doc, resps } = samples[passageTask][0]
  const file = join(work, 'passage.txt')
  writeFileSync(file, reference.token(reference.begin) + doc.text)
  const tokens = reference.encode(doc.text).length
  const words = ['--text', file, '--context', `${tokens + 1}`, '--windows', '1', '--json']
  const { perplexity } = JSON.parse(pare('eval', model, ...words))
  const own = -tokens * Math.log(perplexity)
  const off = Math.abs(Number(resps[0][0]) - own)
  check(
    `${title}: log-likelihood of a passage against the perplexity of pare eval`,
    off <= most,
    `${tokens} tokens of perplexity ${perplexity}, ${off.toExponential(1)} nats apart, ${most} allowed`,
  )
}

/** A length of lm_eval above the model's leads to an error, and to no number. */
function refuseLong(fields) {
  const title = 'lm_eval with more tokens than the model reads'
  const long = { ...fields, max_length: 2048, max_retries: 1 }
  const run = runHarness({ python, work, title, fields: long, tasks: passageTask })
  check(`${title}: ends with an error`, run.status === 1, `status ${run.status}`)
  check(`${title}: the error says so`, run.printed.includes('context_length_exceeded'))
}

await compareModel(source, [
  asPage,
  { name: 'ids in lists of 8', fields: { num_concurrent: 1 }, more: ['--batch_size', '8'] },
  { name: 'texts in lists of 8', fields: { tokenized_requests: 'False' }, more: ['--batch_size', '8'] },
])
const result = join(work, 'pare-4m-vllm')
pare('compress', source, '--method', 'rtn', '--target', 'vllm', '--output', result, '--no-evaluate')
await compareModel(result, [asPage])
for (const folder of folders)
  await compareModel(folder, [
    { name: 'the first documents', tasks: choiceTask, more: ['--limit', '6'], documents: 6 },
  ])
finish()
